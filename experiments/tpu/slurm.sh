#!/usr/bin/env bash
# Score a space on the nodes of a SLURM cluster as one job with a task for each GPU:
#
#   OUT=/shared/nasbench201 ARGS='--all --channels 16 --cells 5' sbatch --nodes=4 --gpus-per-node=8 slurm.sh
#
# JAX finds the tasks through SLURM's environment variables. A job that is preempted or reaches its time limit is queued
# again and resumes.
#SBATCH --job-name=jaxnas
#SBATCH --ntasks-per-gpu=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail
: "${OUT:?set it to the store: a folder that all nodes see, or an address}" "${ARGS:?set it to the arguments of jaxnas score}"

again() { # called two minutes before the time limit
    kill -TERM "$job" 2>/dev/null || true
    scontrol requeue "$SLURM_JOB_ID"
}
trap again USR1

# shellcheck disable=SC2086
srun --kill-on-bad-exit=1 "${JAXNAS:-jaxnas}" score $ARGS --out "$OUT" &
job=$!
wait "$job"
