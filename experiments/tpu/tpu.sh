#!/usr/bin/env bash
# Score a space into an object store on a Cloud TPU slice, which is a single host or a pod:
#
#   tpu.sh create | install | run | collect | delete     one step
#   tpu.sh all                                           all of them; after a preemption repeat create, install and run
#
# Settings are environment variables, see README.md. `run` executes the same command on every host, and JAX finds the
# other hosts. A preemption loses at most one minute of work, which the hosts had not saved to the store yet.
set -euo pipefail

: "${NAME:=jaxnas}" "${ZONE:=us-west4-a}" "${TYPE:=v5litepod-16}" "${VERSION:=v2-alpha-tpuv5-lite}" "${SPOT:=1}"
: "${PACKAGE:=jaxnas[tpu]}" # argument of pip install: a name, an address of a wheel, git+https://...
: "${MOST_STARTS:=20}"      # slices that `all` creates before it gives up

need() {
    if [ -z "${!1:-}" ]; then
        echo "error: $1 is not set: $2" >&2
        exit 2
    fi
}

tpu() { gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" "${@:2}"; }

on_all_hosts() { tpu ssh --worker=all --command="$1"; }

create() { tpu create --accelerator-type="$TYPE" --version="$VERSION" ${SPOT:+--spot}; }

install() {
    on_all_hosts "python3 -m venv ~/jaxnas && ~/jaxnas/bin/pip install --quiet '$PACKAGE'"
    if [ -n "${DATA:-}" ]; then # gs://bucket/folder with the public images
        on_all_hosts "mkdir -p ~/data && gcloud storage cp --recursive '$DATA/*' ~/data/"
    fi
}

run() {
    need OUT "set it to the store, such as gs://bucket/nasbench201"
    need ARGS "set it to the arguments of 'jaxnas score', such as '--all --channels 16 --cells 5 --precision bfloat16'"
    on_all_hosts "JAXNAS_DATA=~/data ~/jaxnas/bin/jaxnas score $ARGS --out '$OUT'"
}

collect() {
    need OUT "set it to the store, such as gs://bucket/nasbench201"
    gcloud storage cp "$OUT/scores.parquet" "${RESULT:-scores.parquet}"
}

delete() { tpu delete --quiet; }

is_preempted() { [[ "$(tpu describe --format='value(state)' 2>/dev/null || echo PREEMPTED)" == PREEMPTED ]]; }

all() {
    for ((start = 1; start <= MOST_STARTS; start++)); do
        create
        if install && run; then
            collect
            delete
            return
        fi
        if ! is_preempted; then
            echo "error: the job failed on a slice that is still there: see above; 'tpu.sh delete' deletes it" >&2
            exit 1
        fi
        echo "slice $start of at most $MOST_STARTS was preempted: continuing on a new one" >&2
        delete || true
    done
    echo "error: $MOST_STARTS slices were preempted: the store keeps their scores, 'tpu.sh all' resumes" >&2
    exit 1
}

case "${1:-}" in
create | install | run | collect | delete | all) "$1" ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
