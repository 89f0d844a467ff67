"""The command line as users call it: searches, resuming, tables, and a one-line message for every mistake."""

import json
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import jaxnas
from jaxnas import cli
from jaxnas.data.public import DATASETS

SMALL = ["--channels", "2", "--batch-size", "16"]
SEARCH = ["search", "--pool", "12", "--budget", "5", "--epochs", "1", "--proxies", "nwot,params", *SMALL]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command in a separate folder: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # the tests' process has started its devices
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["jaxnas", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def table(tmp_path):
    archs = jaxnas.sample(jaxnas.NASBENCH201, 30, seed=1)
    lines = ["arch,val,test", *(f"{jaxnas.NASBENCH201.format(a)},{i},{i + 100}" for i, a in enumerate(archs))]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    return archs


def test_proxies_are_listed_with_what_they_cost(run):
    code, out, _ = run("proxies", "--json")
    lines = {line["name"]: line for line in map(json.loads, out.splitlines())}
    assert code == 0
    assert lines.keys() == jaxnas.PROXIES.keys()
    assert lines["snip"]["needs"] == ["kernels", "gradient"]
    assert (lines["snip"]["forward"], lines["snip"]["backward"], lines["snip"]["sees"]) == (1, 1, "labels")
    assert [name for name, line in lines.items() if not line["higher_is_better"]] == ["ntk_condition"]
    code, out, _ = run("proxies")
    assert code == 0
    assert all(name in out for name in (*jaxnas.PROXIES, "nbsz:", "az_nas:"))


@pytest.mark.slow
def test_a_set_of_proxies_stands_for_its_members(run, tmp_path):
    assert run("score", "--sample", 3, "--proxies", "te_nas,params,te_nas", *SMALL)[0] == 0
    columns = pq.read_table(tmp_path / "scores" / "scores.parquet").column_names
    assert columns == ["index", "arch", "params", "ntk_condition", "linear_regions"]
    code, _, err = run("score", "--proxies", "nbzs")
    assert (code, "did you mean 'nbsz'?" in err) == (2, True)


@pytest.mark.slow
def test_train_takes_the_selected_architecture_and_resumes(run, tmp_path):
    assert run(*SEARCH)[0] == 0
    search = "runs/nasbench201-digits-seed0"
    selected = json.loads((tmp_path / search / "result.json").read_text())["outcomes"]["proxy_gp"]["selected"]
    train = [
        "train",
        search,
        "--epochs",
        "2",
    ]
    code, out, err = run(*train)
    assert code == 0
    assert selected in out
    assert "2 of 2 epochs" in out
    assert f"from {search}: nasbench201, channels 2, cells_per_stage 1, digits" in err
    Image.new("RGB", (20, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    code, predicted, warned = run("predict", search, "red.png", "torn.png", "--csv")
    assert (code, predicted.splitlines()[0]) == (0, "file,class,probability,0,1,2,3,4,5,6,7,8,9")
    assert len(predicted.splitlines()) == 2
    assert "torn.png is skipped" in warned
    code, predicted, _ = run("predict", search, "red.png", "--json")
    assert sum(json.loads(predicted)["probabilities"].values()) == pytest.approx(1)
    assert run("predict", search, "red.png")[1].startswith("red.png  ")
    assert run("predict", search, "torn.png")[0] == 2
    code, exported, _ = run("export", search, "--to", "torch")
    assert (code, (tmp_path / search / "torch" / "model.safetensors").exists()) == (0, True)
    assert "parameters, images [N, 8, 8, 1], 10 classes" in exported
    assert run("export", search, "--to", "flax", "--untrained", "--out", "untrained")[0] == 0
    assert jaxnas.load_model(tmp_path / search).arch == selected
    record = json.loads((tmp_path / search / "trained" / "result.json").read_text())
    assert (record["config"]["arch"], record["config"]["training"]["learning_rate"]) == (selected, 0.1)
    assert record["config"]["network"] == {"affine": True, "cells_per_stage": 1, "channels": 2}
    assert len(record["loss"]) == len(record["accuracy"]) == 2
    assert {"jax", "device"} <= record["environment"].keys()
    code, again, err = run(*train)
    assert (code, again) == (0, out)  # resumed from the checkpoint
    assert "steps" not in err
    code, _, err = run(*train, "--seed", "1")
    assert code == 2
    assert "was made with other settings (seed is 0, not 1)" in err


def test_search_trains_reports_and_resumes(run, tmp_path):
    code, out, err = run(*SEARCH, "--compare", "random")
    assert code == 0
    assert "proxy_gp: 5 queries" in out
    assert "random selects\n  |" in out
    assert "effect of a proxy" in " ".join(out.split())
    assert "compiling" in out
    assert "query  5/5" in err
    folder = tmp_path / "runs" / "nasbench201-digits-seed0"
    record = json.loads((folder / "result.json").read_text())
    found = record["outcomes"]["proxy_gp"]
    assert len(found["queries"]) == 5
    assert 0 <= found["test_accuracy"] <= 100
    assert record["config"]["budget"] == 5
    assert {"jax", "device"} <= record["environment"].keys()
    queries = pq.read_table(folder / "queries.parquet").to_pylist()
    assert [row["method"] for row in queries] == ["proxy_gp"] * 5 + ["random"] * 5
    assert {row["phase"] for row in queries} >= {"bo", "random"}
    assert len(jaxnas.read_scores(folder / "scores").archs) == 12

    before = (folder / "training.jsonl").read_bytes()
    (folder / "result.json").unlink()
    code, again, _ = run(*SEARCH, "--compare", "random")
    assert code == 0
    assert (folder / "training.jsonl").read_bytes() == before  # nothing was trained twice
    repeated = json.loads((folder / "result.json").read_text())["outcomes"]
    assert repeated == record["outcomes"]
    assert again.split("12 architectures;")[0] == out.split("12 architectures;")[0]

    code, _, err = run(*SEARCH, "--channels", "3")
    assert code == 2
    assert "network.channels is 2, not 3" in err


@pytest.mark.slow
def test_search_in_a_table_finds_its_best_with_the_whole_budget(run, table):
    args = ["search", "--table", "mine.csv", "--column", "val", "--test-column", "test", "--pool", 30, "--budget", 30]
    code, out, _ = run(*args, "--proxies", "synflow", *SMALL)
    assert code == 0
    assert "val 29, test 129" in out
    assert f"proxy_gp selects\n  {jaxnas.NASBENCH201.format(table[29])}" in out


COMPARE = ["compare", "--table", "mine.csv", "--column", "val", "--budget", "6", "--methods", "random,rea,single_proxy"]


def test_compare_keeps_what_is_finished_and_adds_to_it(run, tmp_path, table):
    code, out, _ = run(*COMPARE, "--test-column", "test", "--seeds", "3")
    assert code == 0
    assert "single_proxy" in out
    folder = tmp_path / "runs" / "compare"
    record = json.loads((folder / "comparison.json").read_text())
    assert [row["method"] for row in record["rows"]] == ["random", "rea", "single_proxy"]
    assert all(row["mean"] == pytest.approx(row["observed"] + 100) for row in record["rows"])  # as constructed
    assert record["rows"][0]["against_first"] is None
    difference = record["rows"][1]["mean"] - record["rows"][0]["mean"]
    assert record["rows"][1]["against_first"]["difference"] == pytest.approx(difference)
    assert all(len(curve) == 6 and curve == sorted(curve) for curve in record["curves"].values())
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    before = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert run(*COMPARE, "--test-column", "test", "--seeds", "3")[0] == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")} == before
    assert run(*COMPARE, "--test-column", "test", "--seeds", "5")[0] == 0
    first, all_of_them = pq.read_table(pa.BufferReader(before["rea.parquet"])), pq.read_table(folder / "rea.parquet")
    assert all_of_them["seeds"].to_pylist() == [0, 1, 2, 3, 4]
    assert all_of_them.slice(0, 3).equals(first)
    code, _, err = run(*COMPARE, "--test-column", "test", "--budget", "7")
    assert (code, "budget is 6, not 7" in err) == (2, True)


def test_a_damaged_file_of_a_comparison_is_made_again(run, tmp_path, table):
    assert run(*COMPARE, "--test-column", "test", "--seeds", "2")[0] == 0
    path = tmp_path / "runs" / "compare" / "rea.parquet"
    whole = pq.read_table(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert run(*COMPARE, "--test-column", "test", "--seeds", "2")[0] == 0
    assert pq.read_table(path).equals(whole)


def test_compare_without_a_test_column_reports_what_it_searches(run, tmp_path, table):
    assert run(*COMPARE, "--seeds", "2")[0] == 0
    record = json.loads((tmp_path / "runs" / "compare" / "comparison.json").read_text())
    assert all(row["mean"] == row["observed"] for row in record["rows"])


def test_compare_over_fidelities(run, tmp_path, table):
    given = ["--methods", "hyperband,random", "--longer", "test", "--prices", "3", "--test-column", "test"]
    code, *_ = run(*COMPARE[:-2], *given, "--seeds", "3")
    assert code == 0
    record = json.loads((tmp_path / "runs" / "compare" / "comparison.json").read_text())
    assert [row["method"] for row in record["rows"]] == ["hyperband", "random"]
    hyperband, random = (record["curves"][name] for name in ("hyperband", "random"))
    assert len(hyperband) == len(random) == 6
    assert hyperband[-1] > 100 > random[-1]  # one architecture was trained for longer, where all are 100 higher


FIRST = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
OTHER_SPACE = ["compare", "transnas101-macro", "--scores", "scores.csv", "--table", "accuracies.csv"]
OTHER_SPACE += ["--column", "val", "--methods", "robot,rea", "--seeds", "2"]


@pytest.fixture
def skeletons(tmp_path):
    """Return scores and accuracies of 40 networks that jaxnas cannot build."""
    space = jaxnas.SPACES["transnas101-macro"]
    texts = [space.format(arch) for arch in jaxnas.sample(space, 40, seed=0)]
    for name, header, rows in (
        ("scores", "arch,up,down", [f"{text},{i},{-i}" for i, text in enumerate(texts[:35])]),
        ("accuracies", "arch,val", [f"{text},{i + 50}" for i, text in enumerate(texts)]),
    ):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    return texts


@pytest.mark.slow
def test_a_space_without_network_is_searched_on_tables(run, tmp_path, skeletons):
    assert run(*OTHER_SPACE)[0] == 0
    record = json.loads((tmp_path / "runs" / "compare" / "comparison.json").read_text())
    assert record["rows"][0]["mean"] == 84  # mean over the 35 that have both
    args = ["search", *OTHER_SPACE[1:6], "--column", "val"]
    code, out, _ = run(*args, "--budget", "5")
    assert code == 0
    assert f"proxy_gp selects\n  {skeletons[34]}" in out


@pytest.mark.slow
def test_preset_of_robot(run, tmp_path, table):
    found = {}
    for preset in ("default", "paper"):
        code, *_ = run(*COMPARE[:-1], "robot", "--preset", preset, "--seeds", "1", "--out", preset)
        assert code == 0
        found[preset] = json.loads((tmp_path / preset / "comparison.json").read_text())["config"]["preset"]
    assert found == {"default": "default", "paper": "paper"}
    code, _, err = run(*COMPARE[:-1], "robot", "--preset", "paper", "--seeds", "1", "--out", "default")
    assert (code, "preset is default, not paper" in err) == (2, True)


def test_score_writes_the_named_architectures(run, tmp_path, table):
    (tmp_path / "archs.txt").write_text("".join(f"{jaxnas.NASBENCH201.format(arch)}\n" for arch in table[:5]))
    args = ["score", "--archs", "archs.txt", "--proxies", "nwot", *SMALL]
    code, out, _ = run(*args)
    assert code == 0
    assert "5 architectures in scores; compiling" in out
    scores = jaxnas.read_scores(tmp_path / "scores")
    assert set(map(tuple, scores.archs)) == set(map(tuple, table[:5]))
    frame = pq.read_table(tmp_path / "scores" / "scores.parquet")
    assert frame["arch"].to_pylist() == [jaxnas.NASBENCH201.format(arch) for arch in scores.archs]
    for name in ("scores", "scores/scores.parquet"):
        code, _, err = run("search", "--scores", name, "--budget", "6", *SMALL[:2])
        assert code == 2
        assert "`budget` must be from 1 to 5, the architectures of the pool, got 6" in err
        code, _, err = run("search", "--scores", name, "--budget", "5", "--proxies", "snip", *SMALL[:2])
        assert code == 2
        assert "snip" in err
        assert "nwot" in err  # the message lists the choices
    code, _, err = run(*args, "--init", "independent")
    assert code == 2
    assert "init is shared, not independent" in err


@pytest.mark.slow
def test_score_of_a_task(run, tmp_path):
    """The task selects head and labels, given images are resized, and another task needs another store."""
    args = ["score", "transnas101-micro", "--sample", "2", "--proxies", "synflow", "--pixels", "32"]
    code, out, err = run(*args, "--task", "segmentsemantic", "--channels", "4", "--batch-size", "4")
    assert (code, err.count("rror")) == (0, 0)
    assert "2 architectures in scores" in out
    provenance = jaxnas.read_scores(tmp_path / "scores").provenance
    assert provenance["data"] == "segmentsemantic of digits"
    assert (provenance["network.head"], provenance["network.num_classes"]) == ("segmentation", 17)
    code, _, err = run(*args, "--task", "normal", "--channels", "4", "--batch-size", "4")
    assert code == 2
    assert "network.head is segmentation, not image" in err


def test_json_lines_tell_everything(run, tmp_path):
    args = ["score", "--sample", "20", "--proxies", "nwot", "--json", *SMALL]
    code, out, _ = run(*args)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in (events[0], events[-2], events[-1])] == ["start", "progress", "done"]
    assert (events[0]["total"], events[0]["found"], events[-2]["done"]) == (20, 0, 20)
    assert events[-2].keys() == {"event", "stage", "done", "total", "rate", "eta_s", "rss_mb", "device_mb"}
    assert events[-1]["out"] == "scores"
    assert 0 <= events[-1]["compile_s"] <= events[-1]["seconds"]
    (tmp_path / "scores" / "parts" / "0.parquet").write_bytes(b"")
    code, out, _ = run(*args)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in events] == ["damaged", "start", "done"]
    assert (events[0]["part"], events[1]["found"]) == ("0.parquet", 20)


# A shell that runs the tests in the background makes them and their children ignore Ctrl-C.
STOPPABLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import jaxnas.cli as c; c.main()"


def stopped(place, *args):
    """Return the output of a stopped command."""
    return f"stopped: finished work is kept in {place}; resume with: {shlex.join(['jaxnas', *args])}\n"


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_the_same_command_resumes(tmp_path):
    lasting = ["--channels", "8", "--cells", "3", "--batch-size", "16"]  # scoring all of them would take half a minute
    args = ["score", "--all", "--proxies", "synflow", "--json", *lasting]
    command = [sys.executable, "-c", STOPPABLE, *args]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert '"progress"' in lines[1]
    assert process.returncode == 130
    assert err == stopped("scores", *args)
    assert 0 < len(jaxnas.read_scores(tmp_path / "scores").archs) < 15625


@pytest.mark.slow
def test_ctrl_c_keeps_the_seeds_of_a_comparison(run, tmp_path, table):
    args = [*COMPARE[:-1], "random", "--seeds"]
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, *args, "100000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    kept = tmp_path / "runs" / "compare" / "random.parquet"
    deadline = time.monotonic() + 60
    while not kept.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1] + "\n") == (130, stopped("runs/compare", *args, "100000"))
    found = kept.read_bytes()
    assert 10 <= pq.read_metadata(kept).num_rows < 100_000
    assert run(*args, "5")[0] == 0
    assert kept.read_bytes() == found  # five seeds are done already


def test_data_lists_every_set(run):
    code, out, _ = run("data")
    assert code == 0
    assert all(name in out for name in DATASETS)
    assert "present" in out
    assert "missing" in out
    assert DATASETS["cifar10"].address in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["search", "nasbench20"], "unknown search space 'nasbench20': did you mean 'nasbench201'?"),
        (["search", "--proxies", "snip,synflo"], "unknown proxy 'synflo': did you mean 'synflow'?"),
        (["search", "--method", "robt"], "unknown method 'robt': did you mean 'robot'?"),
        (["search", "--compare", "randm"], "unknown method 'randm': did you mean 'random'?"),
        (["search", "--normalization", "minmx"], "unknown normalization 'minmx': did you mean 'minmax'?"),
        (["search", "--data", "digts"], "unknown image set 'digts': did you mean 'digits'?"),
        (["search", "--data", "cifar10"], "jaxnas data get cifar10"),
        (["search", "--budget", "0"], "`--budget` must be at least 1, got 0"),
        (["search", "--budget", "1001"], "`budget` must be from 1 to 1000, the architectures of the pool, got 1001"),
        (["search", "--pool", "20000", "--budget", "20"], "15625"),
        (["search", "--epochs", "0"], "`--epochs` must be at least 1, got 0"),
        (["search", "--batch-size", "1"], "`minibatch size` must be from 2 to 1442, the training images"),
        (["search", "--table", "mine.csv"], "--column"),
        (["search", "--table", "mine.csv", "--column", "vall"], "unknown column 'vall': did you mean 'val'?"),
        (["search", "--table", "none.csv", "--column", "val"], "none.csv"),
        (["search", "--table", "nasbench201", "--column", "c10_valid_val_12"], "jaxnas data get robot"),
        (
            ["search", "--table", "nasbench201", "--column", "val"],
            "no shipped scores are of the images of column 'val'",
        ),
        (
            ["search", "--table", "nasbench201", "--data", "digits"],
            "--data has no effect where scores are given (cifar",
        ),
        (
            ["search", "--table", "mine.csv", "--column", "val", "--epochs", "2"],
            "--epochs has no effect where accuraci",
        ),
        (["search", "--scores", "cifar10", "--pool", "9"], "--pool has no effect where scores are given (cifar10)"),
        (["search", "--column", "val"], "--column has no effect where candidates are trained: give --table"),
        (
            ["search", "--method", "random", "--preset", "paper"],
            "--preset has no effect where no method is robot: leave out --preset",
        ),
        (
            ["search", "--method", "random", "--compare", "rea", "--normalization", "rank"],
            "--normalization has no effect where no method reads scores: leave out --normalization",
        ),
        (
            ["compare", "--methods", "random,rea", "--proxies", "snip"],
            "--proxies has no effect where no method reads scores: leave out --proxies",
        ),
        (
            ["compare", "--longer", "a", "--prices", "3"],
            "--longer, --prices have no effect where no method is hyperband or bohb: leave out --longer, --prices",
        ),
        (
            ["search", "--objective-command", "echo {arch}", "--latency-column", "ms"],
            "--latency-column has no effect where a pool is scored: give --scores",
        ),
        (["compare", "--column", "im120_val_12"], "no shipped scores are of the images of column 'im120_val_12'"),
        (["search", "--scores", "none.parquet"], "no score file none.parquet"),
        pytest.param(
            ["search", "--proxies", "grasp", "--pool", "1", "--budget", "1"],
            "no proxy can rank the 1 architectures",
            marks=pytest.mark.slow,  # scores it first
        ),
        ([*COMPARE, "--methods", "robot,reaa"], "unknown method 'reaa': did you mean 'rea'?"),
        ([*COMPARE, "--methods", ""], "`--methods` must not be empty, got ''"),
        ([*COMPARE, "--budget", "31"], "`budget` must be from 1 to 30, the number of architectures, got 31"),
        ([*COMPARE, "--scores", "cifar11"], "no score file cifar11"),
        (["score", "--task", "jigsaw"], "space 'nasbench201' has no heads for tasks such as 'jigsaw'"),
        (["score", "transnas101-micro", "--task", "jigsav"], "unknown task 'jigsav': did you mean 'jigsaw'"),
        (["search", "--preset", "papr"], "unknown preset 'papr': did you mean 'paper'?"),
        (["compare", "--longer", "a,b", "--prices", "3"], "2 columns of longer training and 1 prices: give one each"),
        (
            ["compare", "--longer", "a", "--prices", "3.5"],
            "`--prices` must be whole numbers separated by commas, got '3.5'",
        ),
        (["compare", "--table", "mine.csv"], "needs the column that the search maximises: give --column"),
        ([*COMPARE, "--test-column", "tst"], "unknown column 'tst': did you mean 'test'?"),
        (["score", "--archs", "bad.txt"], "bad.txt, line 2"),
        (["score", "--archs", "empty.txt"], "empty.txt has no architecture"),
        (["score", "--data", "cut.npz"], "cut.npz"),
        (["score", "--data", "wide.npz"], "must be uint8 or float, got int64"),
        (["train", "nonsense"], "'nonsense' is neither a folder of a search nor an architecture"),
        (["train", "two  spaces"], "'two  spaces' is neither a folder of a search nor an architecture"),
        (["train", "."], "no finished search in .: it has no result.json"),
        (["predict", ".", "a.png"], "no trained model in .: give a folder of a model"),
        (["predict", ".", "a.png", "--csv", "--json"], "`--csv` and `--json` exclude each other"),
        (["export", ".", "--to", "torch"], "no trained model in .: give a folder of a model"),
        (["export", ".", "--to", "tensorflow"], "unknown export 'tensorflow': choose from flax, torch"),
        (["export", "."], "Missing option '--to'"),
        (["train", "|nothing~0|+", "nasbench201"], "|nothing~0|+"),
        (["train", "|nothing~0|+", "--space", "nasbench201"], "|nothing~0|+"),
        (["train", FIRST, "darts", "--space", "nasbench201"], "space darts and --space nasbench201 differ"),
        (["train", "nasbench201", FIRST], "'nasbench201' is a search space: give the architecture first"),
        (["train", FIRST, "nasbench20"], "unknown search space 'nasbench20': did you mean 'nasbench201'?"),
        (["score", "--cells", "0"], "`--cells` must be at least 1, got 0"),
        (["train", FIRST, "--data", "digits", "--batch-size", "1"], "training `batch_size` must be at least 2"),
        (
            ["train", FIRST, "--data", "digits", "--drop-path", "0.1"],
            "`drop_path` must be 0 as NASBench201Network has no paths to drop",
        ),
        (["data", "get", "cifar"], "unknown data set 'cifar': did you mean"),
        (["data", "get", "digits"], "digits"),
    ],
)
def test_a_mistake_gets_one_line_and_code_2(run, tmp_path, table, skeletons, args, message):
    (tmp_path / "bad.txt").write_text(f"{jaxnas.NASBENCH201.format(table[0])}\n|skip_connect~0|+\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut short")
    images, labels = np.zeros((4, 6, 6, 1), np.int64), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "wide.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    is_idle = "--scores" in args or "nasbench201" in args[:3]
    small = [*SMALL] if args[0] in ("search", "score") and "--batch-size" not in args and not is_idle else []
    code, _, err = run(*args, *small)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err


@pytest.mark.slow
def test_plan_of_a_job(run, tmp_path):
    args = ["score", "--all", "--channels", "4", "--plan", "--devices", "4"]
    code, out, err = run(*args, "--throughput", "5")
    assert code == 0, err
    assert "15,625, of which the store has 0" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    _, out, _ = run(*args, "--throughput", "5", "--json")
    found = json.loads(out)
    assert found["seconds"] == pytest.approx(found["to_score"] / 20)
    code, _, err = run(*args, "--throughput", "-1")
    assert (code, "`throughput` must be above 0 architectures a second, got -1.0" in err) == (2, True)
    assert not (tmp_path / "scores").exists()
