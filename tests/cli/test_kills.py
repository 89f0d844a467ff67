"""A command that is killed at any time and started again gives the result of an undisturbed one."""

import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

SMALL = ("--channels", "2", "--batch-size", "16")
JOBS = {
    "score": ("score", "--sample", "20", "--proxies", "snip", *SMALL, "--out", "out"),
    "search": ("search", "--pool", "10", "--budget", "4", "--epochs", "1", "--proxies", "snip", *SMALL, "--out", "out"),
    "train": (
        *("train", "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", "--data", "digits"),
        *("--epochs", "2", "--channels", "2", "--cells", "1", "--out", "out"),
    ),
    "compare": (
        *("compare", "--table", "t.csv", "--scores", "t.csv", "--column", "acc", "--test-column", "acc"),
        *("--methods", "random", "--seeds", "30", "--budget", "4", "--out", "out"),
    ),
}


def start(job, folder):
    folder.mkdir(exist_ok=True)
    rows = "".join(f"n{i},{i % 17},{i % 5},{i % 7}\n" for i in range(30))
    (folder / "t.csv").write_text(f"arch,acc,a,b\n{rows}")
    command = [sys.executable, "-m", "jaxnas", *JOBS[job]]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(job, folder):
    """Return what a job found, without times and versions."""
    out = folder / "out"
    if job == "score":
        return pq.read_table(out / "scores.parquet").to_pydict()
    if job == "compare":
        return json.loads((out / "comparison.json").read_text())["rows"]
    record = json.loads((out / "result.json").read_text())
    if job == "train":
        return record["loss"], record["accuracy"], record["test_accuracy"]
    found = record["outcomes"]["proxy_gp"]
    return [found[name] for name in ("queries", "objective", "selected", "test_accuracy", "weights")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function that runs a job once: its result and seconds."""
    known = {}

    def run(job):
        if job not in known:
            folder, began = tmp_path_factory.mktemp(job), time.monotonic()
            process = start(job, folder)
            _, err = process.communicate(timeout=600)
            assert process.returncode == 0, err
            known[job] = result_of(job, folder), time.monotonic() - began
        return known[job]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9], ids=["early", "mid", "late"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_was_killed_and_started_again_finds_the_same(job, number, share, tmp_path, undisturbed):
    expected, seconds = undisturbed(job)
    process = start(job, tmp_path)
    time.sleep(share * seconds)
    process.send_signal(number)
    sent = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5  # 1.5, and what a loaded machine adds
    codes = {0, -number} if number == signal.SIGKILL else {0, 128 + number, -number}  # 0: it was done
    assert process.returncode in codes, err
    assert "Traceback" not in err, err
    again = start(job, tmp_path)
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert result_of(job, tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("job", ["train", "search"])
def test_of_two_in_one_folder_one_is_refused_or_both_find_the_same(job, tmp_path, undisturbed):
    expected, _ = undisturbed(job)
    both = [start(job, tmp_path) for _ in range(2)]
    ended = [(process.communicate(timeout=600)[1], process.returncode) for process in both]
    refused = [err for err, code in ended if code != 0]
    assert len(refused) <= 1, ended
    for err, code in ended:
        line = err.splitlines()[-1]
        assert code in (0, 2), err
        assert code == 0 or line.startswith("error: another process is training "), err
        assert "Traceback" not in err
    assert result_of(job, tmp_path) == expected
