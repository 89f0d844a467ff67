"""Searches with several seeds share their trainings, and end with intervals and a paired test."""

import json
from dataclasses import replace

import pytest

from jaxnas.errors import InputError, NothingToSelect
from jaxnas.objectives.config import TrainingConfig
from jaxnas.report.groups import group_methods
from jaxnas.run.config import run_config
from jaxnas.run.load import load_run
from jaxnas.run.method_runs import method_rows
from jaxnas.run.seeds import search_seeds
from jaxnas.runtime.events import Noted, TrainingProgress
from jaxnas.runtime.settings import LAST_SEED

CONFIG = run_config(
    channels=2,
    proxies="params",
    batch_size=8,
    pool=6,
    budget=3,
    method="random",
    compare="rank_sum,single_proxy",
    training=TrainingConfig(epochs=1, batch_size=256),
    seed=4,
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Two seeds of three methods: the runs, their folder and their events."""
    folder, events = tmp_path_factory.mktemp("seeds"), []
    return search_seeds(CONFIG, 2, folder, on_event=events.append), folder, events


def test_a_seed_whose_candidates_all_failed_is_left_out(tmp_path):
    """Eight of twelve candidates of the table failed: their objective is inf."""
    scores, table = tmp_path / "scores.csv", tmp_path / "table.csv"
    scores.write_text("\n".join(["arch,mine", *(f"a{row},{row}" for row in range(12))]))
    table.write_text("\n".join(["arch,acc", *(f"a{row},{row if row < 4 else 'inf'}" for row in range(12))]))
    config = run_config("ids", method="random", table=str(table), column="acc", budget=2)
    events = []
    runs = search_seeds(config, 8, tmp_path / "runs", scores_path=str(scores), on_event=events.append)
    left_out = [event.message for event in events if isinstance(event, Noted) and event.is_warning]
    kept = [run.config.seed for run in runs]
    assert 0 < len(kept) < 8
    assert left_out == [
        f"seed {seed} is left out: all 2 architectures that random queried failed (objective NaN or inf): there is "
        "nothing to select"
        for seed in range(8)
        if seed not in kept
    ]
    assert [row["seeds"] for row in method_rows(group_methods(runs))] == [len(kept)]
    table.write_text("\n".join(["arch,acc", "a0,1", *(f"a{row},inf" for row in range(1, 12))]))
    failed = min({*range(8)} - {*kept})
    with pytest.raises(NothingToSelect, match="all candidates of all seeds failed, of 1 from seed"):
        search_seeds(replace(config, seed=failed), 1, tmp_path / "others", scores_path=str(scores))


@pytest.mark.slow
def test_no_architecture_is_trained_twice(searched):
    runs, folder, events = searched
    header, *lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    trained = [line["arch"] for line in lines]
    assert len(trained) == len(set(trained))
    queried = {row["arch"] for run in runs for row in run.rows()}
    assert set(trained) == queried
    assert header["made_with"]["seed"] == 4
    ends = [event for event in events if isinstance(event, TrainingProgress) and event.step == event.steps]
    # A selected architecture is trained again for its test accuracy if its parameters are not at hand.
    assert len(trained) <= sum(len(event.candidates) for event in ends) <= len(trained) + 2 * 3
    assert [event.message for event in events if isinstance(event, Noted) and event.message.startswith("seed")] == [
        "seed 4, 1 of 2",
        "seed 5, 2 of 2",
    ]


@pytest.mark.slow
def test_seeds_draw_other_pools_and_accuracies_of_an_architecture_agree(searched):
    runs, *_ = searched
    assert [run.config.seed for run in runs] == [4, 5]
    assert [run.config.training.seed for run in runs] == [4, 4]
    assert runs[0].scores.archs.tolist() != runs[1].scores.archs.tolist()
    accuracy = {}
    for run in runs:
        for row in run.rows():
            assert accuracy.setdefault(row["arch"], row["objective"]) == row["objective"]


@pytest.mark.slow
def test_every_method_has_every_seed_and_a_paired_test(searched):
    runs, folder, _ = searched
    rows = method_rows(group_methods(runs))
    assert [(row["method"], row["seeds"]) for row in rows] == [("random", 2), ("rank_sum", 2), ("single_proxy", 2)]
    assert [row["against_first"] is None for row in rows] == [True, False, False]
    assert load_run(folder / "seed5").config == runs[1].config


@pytest.mark.slow
def test_the_same_call_queries_the_record_alone(searched):
    runs, folder, _ = searched
    before = (folder / "training.jsonl").read_bytes()
    again = search_seeds(CONFIG, 2, folder)
    assert (folder / "training.jsonl").read_bytes() == before
    assert [run.selected for run in again] == [run.selected for run in runs]


@pytest.mark.parametrize(("seed", "num"), [(0, 0), (LAST_SEED, 2)])
def test_seeds_out_of_range_are_refused(tmp_path, seed, num):
    with pytest.raises(InputError, match="`seeds` must be from 1 to"):
        search_seeds(run_config(seed=seed), num, tmp_path)
