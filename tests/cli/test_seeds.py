"""`jaxnas search --seeds`, and errors of what the user adds."""

import subprocess
import sys

import pytest

import jaxnas
from jaxnas.cli import main


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    rows = [f"n{number},{number % 7 + number / 100},{number % 5}" for number in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["arch,loss,a", *rows]))
    return {row.split(",")[0]: float(row.split(",")[1]) for row in rows}


@pytest.mark.parametrize(("direction", "best"), [([], max), (["--minimize"], min)])
def test_the_best_candidate_of_all_seeds_is_shown(table, tmp_path, capsys, monkeypatch, direction, best):
    args = ["search", "--table", "t.csv", "--scores", "t.csv", "--column", "loss", "--proxies", "a", "--budget", "4"]
    args += ["--method", "random", "--compare", "single_proxy", "--seeds", "3", "--out", "runs", *direction]
    monkeypatch.setattr("sys.argv", ["jaxnas", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.endswith("has the best candidate of random:"))
    seeds = [tmp_path / "runs" / f"seed{seed}" for seed in range(3)]
    assert all((folder / "result.json").exists() for folder in seeds)
    found = [jaxnas.load_run(folder) for folder in seeds]
    assert table[lines[place + 1].strip()] == best(run.outcomes["random"].result.best for run in found)


@pytest.mark.slow
def test_an_error_of_a_users_function_keeps_its_traceback(table, tmp_path):
    (tmp_path / "mine.py").write_text("OBJECTIVES = {'mine': lambda arch: float(open('data.csv').read())}")
    args = ["--scores", "t.csv", "--proxies", "a", "--plugin", "mine.py", "--objective", "mine", "--method", "random"]
    command = [sys.executable, "-m", "jaxnas.cli", "search", *args, "--budget", "2", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "cannot write" not in done.stderr
