#!/usr/bin/env bash
# Scores a space on the nodes of a SLURM cluster, a task for each GPU, as one job:
#
#   OUT=/shared/nasbench201 ARGS='--all --channels 16 --cells 5' sbatch --nodes=4 --gpus-per-node=8 slurm.sh
#
# JAX finds the tasks by SLURM's variables. A job that is preempted, or ends with its time, is queued again and goes on.
#SBATCH --job-name=jaxnas
#SBATCH --ntasks-per-gpu=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail
: "${OUT:?give the store: a folder that all nodes see, or an address}" "${ARGS:?give what follows jaxnas score}"

again() { # two minutes before the time is over
    kill -TERM "$job" 2>/dev/null || true
    scontrol requeue "$SLURM_JOB_ID"
}
trap again USR1

# shellcheck disable=SC2086
srun --kill-on-bad-exit=1 "${JAXNAS:-jaxnas}" score $ARGS --out "$OUT" &
job=$!
wait "$job"
