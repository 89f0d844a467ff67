"""What a computation runs on: processes and workers, cores, files, numeric precision, timing."""
