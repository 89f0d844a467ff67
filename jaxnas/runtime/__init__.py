"""Support of computations: processes and workers, cores, files, numeric precision, timing."""
