"""Support of computations: processes and workers, cores, files and paths, settings of JAX, progress, timing."""
