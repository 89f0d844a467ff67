"""The launch scripts with stand-ins for gcloud and srun: the commands that they run, and what a preemption does."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments" / "tpu"
GCLOUD = """#!/usr/bin/env bash
echo "gcloud $*" >> "$LOG"
case "$*" in
*"jaxnas score"*)
    if [ "$(grep -c 'jaxnas score' "$LOG")" -le "${FAILURES:-0}" ]; then exit 1; fi ;;
*describe*) echo "${STATE:-PREEMPTED}" ;;
esac
"""
SRUN = """#!/usr/bin/env bash
echo "srun $*" >> "$LOG"
exec sleep "${SECONDS_OF_WORK:-0}"
"""
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*" >> "$LOG"
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a script with stand-ins on the path: exit code, stderr and the commands run."""
    for name, text in (("gcloud", GCLOUD), ("srun", SRUN), ("scontrol", SCONTROL)):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    log = tmp_path / "log"

    def call(script, *args, **variables):
        log.write_text("")
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "LOG": str(log), **variables}
        command = ["bash", str(SCRIPTS / script), *args]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return told.returncode, told.stderr, log.read_text().splitlines()

    return call


JOB = {"OUT": "gs://bucket/store", "ARGS": "--all --channels 16", "NAME": "mine", "ZONE": "here-a", "DATA": "gs://data"}


def steps(commands):
    """Return the step to which each command belongs."""
    signs = {"create": " create ", "install": "pip install", "run": "jaxnas score", "collect": "scores.parquet"}
    signs |= {"delete": " delete ", "describe": " describe "}
    return [step for line in commands for step, sign in signs.items() if sign in line]


def test_all_steps_of_a_slice(run):
    code, err, commands = run("tpu.sh", "all", **JOB)
    assert code == 0, err
    assert steps(commands) == ["create", "install", "run", "collect", "delete"]
    assert all("mine --zone=here-a" in line for line in commands if "tpu-vm" in line)
    assert "--spot" in commands[0]
    (scoring,) = [line for line in commands if "jaxnas score" in line]
    assert "--worker=all" in scoring
    assert "jaxnas score --all --channels 16 --out 'gs://bucket/store'" in scoring


def test_a_preempted_slice_is_replaced(run):
    code, err, commands = run("tpu.sh", "all", FAILURES="2", **JOB)
    assert code == 0, err
    lost = ["create", "install", "run", "describe", "delete"]
    assert steps(commands) == [*lost, *lost, "create", "install", "run", "collect", "delete"]
    assert err.count("continuing on a new one") == 2


def test_it_gives_up(run):
    code, err, commands = run("tpu.sh", "all", FAILURES="9", STATE="READY", **JOB)
    assert (code, steps(commands)) == (1, ["create", "install", "run", "describe"])
    assert "still there" in err
    code, err, commands = run("tpu.sh", "all", FAILURES="9", MOST_STARTS="2", **JOB)
    assert (code, steps(commands).count("create")) == (1, 2)
    assert "'tpu.sh all' resumes" in err


def test_what_is_missing_is_named(run):
    code, err, commands = run("tpu.sh", "run", ARGS="--all")
    assert (code, commands) == (2, [])
    assert "OUT is not set: set it to the store" in err
    code, err, _ = run("tpu.sh", "start")
    assert code == 2
    assert "create | install | run | collect | delete" in err


def test_slurm(run):
    code, err, commands = run("slurm.sh", OUT="/shared/store", ARGS="--all --cells 5", SLURM_JOB_ID="7")
    assert code == 0, err
    assert commands == ["srun --kill-on-bad-exit=1 jaxnas score --all --cells 5 --out /shared/store"]
    code, err, commands = run("slurm.sh", OUT="/shared/store")
    assert (code != 0, commands) == (True, [])
    assert "set it to the arguments of jaxnas score" in err


def test_a_slurm_job_whose_time_ends_is_queued_again(run, tmp_path):
    """SLURM sends a signal before the time limit."""
    ending = tmp_path / "ending.sh"
    ending.write_text(f'bash "{SCRIPTS / "slurm.sh"}" & sleep 1; kill -USR1 $!; wait $! || true\n')
    _, _, commands = run(ending, OUT="/store", ARGS="--all", SLURM_JOB_ID="7", SECONDS_OF_WORK="30")
    assert "scontrol requeue 7" in commands
