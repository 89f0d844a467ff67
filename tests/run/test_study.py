"""Studies: the same search as in one call, in any number of processes, through kills, failures and odd returns."""

import json
import subprocess
import sys

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.study_file import create_study, load_study
from jaxnas.run.trials import LOG
from jaxnas.search import get_method

TABLE = np.random.default_rng(0).random((12, 2))
ARCHS = [f"net-{row}" for row in range(12)]
VALUES = 50 + 10 * TABLE[:, 0]


def value_of(arch):
    return VALUES[int(arch.removeprefix("net-"))]


def study_in(folder, **options):
    return create_study(folder, TABLE, ARCHS, **{"budget": 6, "method": "random", "seed": 3, **options})


@pytest.mark.parametrize(
    ("method", "direction"),
    [("random", "minimize"), ("rank_sum", "maximize"), pytest.param("robot", "maximize", marks=pytest.mark.slow)],
)
def test_a_study_is_the_search_of_one_call(tmp_path, method, direction):
    asked = []
    study = study_in(tmp_path, method=method, direction=direction)
    result = study.run(lambda arch: asked.append(arch) or value_of(arch))
    whole = get_method(method)(TABLE, VALUES, budget=6, seed=3, direction=direction)
    assert result.queries.tolist() == whole.queries.tolist()
    assert (result.selected, result.best, result.phase) == (whole.selected, whole.best, whole.phase)
    assert len(asked) == 6
    assert load_study(tmp_path).run(pytest.fail).selected == result.selected  # nothing is evaluated twice


def test_a_study_that_was_killed_at_any_byte_resumes_with_the_same_result(tmp_path):
    whole = study_in(tmp_path / "whole").run(value_of)
    content = (tmp_path / "whole" / LOG).read_bytes()
    for number, place in enumerate((0, 1, len(content) // 2, len(content) - 1)):
        folder = tmp_path / str(number)
        study_in(folder)
        (folder / LOG).write_bytes(content[:place])
        asked = []
        result = load_study(folder).run(lambda arch, asked=asked: asked.append(arch) or value_of(arch))
        assert result.queries.tolist() == whole.queries.tolist()
        complete = content[: content.rfind(b"\n", 0, place) + 1]
        assert len(asked) == 6 - complete.count(b'"tell"')


def test_processes_meet_in_the_folder(tmp_path):
    study = study_in(tmp_path)
    code = f"""
import jaxnas
study = jaxnas.load_study({str(tmp_path)!r})
while trial := study.ask():
    study.tell(trial, float(trial.row))
"""
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [other.wait(120) for other in others] == [0, 0]
    trials = study.trials
    assert len({trial.arch for trial in trials}) == len(trials) == 6
    assert all(trial.is_told for trial in trials)
    assert study.ask() is None
    assert study.result().best == max(trial.row for trial in trials)


def test_pending_trials_are_given_out_again_after_their_time(tmp_path):
    study = study_in(tmp_path, budget=2)
    first = study.ask()
    other = load_study(tmp_path)
    second = other.ask()
    assert first.arch != second.arch
    assert other.ask() is None
    assert other.ask(timeout=0.0).number == 0
    other.tell(second, (3.0,))
    study.tell(0, np.float32(4))
    assert study.result().best == 4
    assert "2 of 2 told, 0 failed, 0 pending" in repr(other)


def test_failures_are_recorded_and_count_or_not(tmp_path):
    worst = int(np.argmin(VALUES))

    def fails(arch):
        if value_of(arch) < np.median(VALUES):
            raise RuntimeError(f"out of memory\nat {arch}")
        return value_of(arch)

    counted = study_in(tmp_path / "counted", budget=12)
    result = counted.run(fails, catch=RuntimeError)
    assert (result.num_failed, len(result.queries)) == (6, 12)
    assert {trial.error for trial in counted.trials if trial.failed} == {"RuntimeError: out of memory"}
    free = study_in(tmp_path / "free", budget=5, count_failures=False)
    result = free.run(fails, catch=(RuntimeError,))
    assert (result.num_failed, len(result.queries)) == (0, 5)
    assert worst not in result.queries
    with pytest.raises(RuntimeError):
        study_in(tmp_path / "stops", budget=12).run(fails)
    assert study_in(tmp_path / "stops", budget=12).run(fails, catch=RuntimeError).num_failed == 6


def test_a_return_that_is_not_a_number_stops_and_nothing_paid_is_lost(tmp_path):
    returns = iter([50.0, None])
    with pytest.raises(InputError, match="an objective must return one number, got None"):
        study_in(tmp_path).run(lambda arch: next(returns))
    study = load_study(tmp_path)
    assert [trial.is_told for trial in study.trials] == [True, False]
    assert study.run(value_of).objective[0] == 50


def test_a_slow_candidate_fails(tmp_path):
    def slow(arch):
        while arch == "net-3":
            pass
        return value_of(arch)

    study = study_in(tmp_path, budget=12)
    assert study.run(slow, query_time=0.3).num_failed == 1
    assert [trial.error for trial in study.trials if trial.failed] == ["OutOfTime: took longer than 0.3 s"]


def test_what_does_not_fit_is_refused(tmp_path):
    study = study_in(tmp_path)
    trial = study.ask()
    study.tell(trial, 1.0)
    study.tell(trial, 1.0)
    for call, message in (
        (lambda: study.tell(trial, 2.0), "trial 0 was told 1 before, and now 2"),
        (lambda: study.tell(7, 2.0), "trial 7 was not asked for; there are 1"),
        (lambda: study_in(tmp_path, budget=7), "made with other settings .*budget is 6, not 7"),
        (lambda: create_study(tmp_path, TABLE + 1, ARCHS, budget=6, method="random", seed=3), "other architectures or"),
        (lambda: study_in(tmp_path / "x", budget=13), "`budget` must be from 1 to 12"),
        (lambda: create_study(tmp_path / "x", TABLE, ["a"] * 12, budget=2), "must be 12 distinct texts"),
        (lambda: study_in(tmp_path / "x", method="rea"), "rea needs architectures"),
        (lambda: load_study(tmp_path / "none"), "it has no study.parquet"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    (tmp_path / LOG).write_text("{}\n")
    with pytest.raises(InputError, match="has a damaged line"):
        load_study(tmp_path).ask()


def test_the_log_is_plain_json(tmp_path):
    study_in(tmp_path, budget=2).run(value_of)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["ask", "tell"] * 2
    assert jaxnas.load_study(tmp_path).result().num_failed == 0


def test_each_candidate_that_counts_gives_one_event(tmp_path):
    """Also one that was pending as its process was killed, and not the one before in place of a failure."""

    def fail_for_the_third(arch):
        if arch == third.arch:
            raise OSError("no memory")
        return value_of(arch)

    study, events = study_in(tmp_path, count_failures=False), []
    first, _, third = study.ask(), study.ask(), study.ask()
    study.tell(first, value_of(first.arch))
    result = study.run(fail_for_the_third, catch=OSError, on_event=events.append)
    assert sorted(event.arch for event in events) == sorted(set(result.queries.tolist()) - {first.row})
    assert {event.budget for event in events} == {6}
    assert all(event.objective == VALUES[event.arch] for event in events)


def test_numbers_of_numpy_are_budgets_and_seeds(tmp_path):
    settings = study_in(tmp_path, budget=np.int64(4), seed=np.uint8(3)).settings
    assert (settings["budget"], settings["seed"]) == (4, 3)
    assert load_study(tmp_path).settings["budget"] == 4


def test_a_trial_of_another_study_is_refused(tmp_path):
    study, other = study_in(tmp_path / "a"), study_in(tmp_path / "b", seed=4)
    study.ask()
    trial = other.ask()._replace(row=99)
    with pytest.raises(InputError, match="tell it to the study that asked for it"):
        study.tell(trial, 1.0)


def test_a_failure_may_be_told_twice_and_values_that_do_not_fit_are_refused(tmp_path):
    study = study_in(tmp_path)
    trial = study.ask()
    with pytest.raises(InputError, match="`seconds` must be a number, got"):
        study.tell(trial, 1.0, seconds=np.array("x"))
    with pytest.raises(InputError, match=r"at most 1\.8e308"):
        study.tell(trial, 10**400)
    study.tell(trial, np.inf)
    study.tell(trial, np.inf)
    assert study.trials[0].failed
    skipping = study_in(tmp_path / "skips", count_failures=False)
    with pytest.raises(InputError, match="no architecture is evaluated yet"):
        skipping.result()
    with pytest.raises(InputError, match="all 12 evaluated architectures failed"):
        skipping.run(lambda arch: np.nan)


def test_other_vectors_of_the_same_architectures_are_refused(tmp_path):
    vectors = np.arange(12, dtype=np.int8)[:, None]
    study_in(tmp_path, vectors=vectors)
    study_in(tmp_path, vectors=vectors)
    with pytest.raises(InputError, match="other `vectors`"):
        study_in(tmp_path, vectors=vectors[::-1])


def test_another_objective_is_named_in_a_half_done_study_and_refused_in_a_finished_one(tmp_path):
    notes = []
    study = study_in(tmp_path, objective="first")
    study.tell(study.ask(), 1.0)
    study_in(tmp_path, objective="first", on_event=notes.append)
    assert not notes
    study = study_in(tmp_path, objective="second", on_event=notes.append)
    assert "was first and is now second: 1 values of the former stay" in notes[0].message
    study.run(value_of)
    assert study_in(tmp_path, objective="second").is_finished
    with pytest.raises(InputError, match=r"another objective \(second, now first\)"):
        study_in(tmp_path, objective="first")


def test_an_objective_may_change_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def moves(arch):
        monkeypatch.chdir(tmp_path / "elsewhere")
        return value_of(arch)

    study = study_in("rel", budget=3)
    assert "in rel: 0 of 3 told" in repr(study)
    assert len(study.run(moves).queries) == 3
    assert f"in {tmp_path.resolve() / 'rel'}: 3 of 3 told" in repr(study)
