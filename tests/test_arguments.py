"""Arguments of another kind, as newcomers give them to functions: refused in words, or taken where the meaning is one.

The calls run in a process of their own, without the checks of types by which tests refuse such arguments.
"""

import subprocess
import sys

import pytest

PRELUDE = """
import pathlib, sys, tempfile
import numpy as np, jaxnas
from jaxnas.run.comparison import compare_methods
from jaxnas.run.config import CompareConfig
from jaxnas.search import METHODS, RobotConfig, get_method
x, y = np.zeros((10, 4, 4)), np.arange(10) % 2
table, values, archs = np.eye(4), np.arange(4.0), list("abcd")
here = pathlib.Path(tempfile.mkdtemp())
small = dict(channels=4, cells_per_stage=1)
net = jaxnas.NASBench201Network(num_classes=2, **small)
batch = jaxnas.Batch(x[..., None].astype(np.float32), y)
random = METHODS["random"]
study = jaxnas.create_study(here / "study", table, archs, budget=3, method="random")
trial = study.ask()
def new(**options):
    return jaxnas.create_study(here / "new", table, **{"archs": archs, "budget": 3, "method": "random", **options})
"""
REFUSED = {
    "jaxnas.sample('nasbench201', 3, seed=0)": "`space` must be a SearchSpace, such as jaxnas.NASBENCH201, got",
    "jaxnas.spaces.enumerate_archs(None)": "`space` must be a SearchSpace",
    "jaxnas.score_archs(jaxnas.NASBench201Network, np.zeros((1, 6), int), batch)": "got the class NASBench201Network",
    "jaxnas.score_archs('nasbench201', np.zeros((1, 6), int), batch)": "`network` must be a network, such as",
    "jaxnas.NASBench201Network(num_classes=0, **small)": "`num_classes` must be from 1 to ",
    "jaxnas.NASBench201Network(num_classes=2, channels='8')": "`channels` must be a whole number from 1",
    "jaxnas.from_arrays(x, y, class_names='ab')": "`class_names` must be 2 different names, one for each class, got",
    "jaxnas.load_images('')": "a path must not be empty, got ''",
    "jaxnas.load_run(None)": "a path must be a text or a Path, got None",
    "jaxnas.search_network(net, jaxnas.from_arrays(x, y), 7)": "a path must be a text or a Path, got 7",
    "jaxnas.normalize(table + 1j)": "`scores` must be real numbers, got complex ones",
    "get_method(None)": "unknown method None: choose from robot",
    "new(method=random)": "unknown method Method(",
    "new(archs='abcd')": "`archs` must be texts, such as [str(arch) for arch in archs], got 'abcd'",
    "new(archs=range(4))": "`archs` must be texts, such as [str(arch) for arch in archs], got range(0, 4)",
    "random(table, values, budget=2, seed=0, config=RobotConfig())": "`config` of random must be left out, got Robot",
    "METHODS['robot'](table, values, budget=2, seed=0, config=3)": "`config` of robot must be a RobotConfig, got 3",
    "random(table, values, budget=2, seed=0, costs=[1, -1, 1, 1])": "`costs` must be at least 0 seconds",
    "study.ask(timeout='1h')": "`timeout` must be a number, got '1h'",
    "study.run(5)": "`objective` must be a function of the text of an architecture, got 5",
    "study.run(len, catch='MemoryError')": "`catch` must be exceptions, such as MemoryError, got 'MemoryError'",
    "study.run(len, query_time=0)": "a duration must be above 0",
    "compare_methods(('random',), CompareConfig(), 2, here)": "`seeds` must be several numbers, such as range(10)",
}
TAKEN = {
    "study.tell(trial, error=ValueError('no memory')) or study.trials[0].error": "ValueError: no memory",
    "jaxnas.from_arrays(x, y, class_names='cat, dog').class_names": "('cat', 'dog')",
    "jaxnas.NASBench201Network(num_classes=np.int64(2), channels=8.0).channels": "8",
}


@pytest.fixture(scope="module")
def answers():
    """Return what each call raises or returns, as text."""
    lines = [PRELUDE]
    for call in (*REFUSED, *TAKEN):
        lines.append(
            f"try: print(str({call}))\nexcept Exception as e: print(type(e).__name__, str(e).replace(chr(10), '#'))"
        )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip((*REFUSED, *TAKEN), done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize(("call", "message"), REFUSED.items(), ids=REFUSED)
def test_what_has_no_meaning_is_refused_in_words(answers, call, message):
    assert answers[call].startswith("InputError ")
    assert message in answers[call]
    assert "#" not in answers[call]


@pytest.mark.parametrize(("call", "value"), TAKEN.items(), ids=TAKEN)
def test_what_has_one_meaning_is_taken(answers, call, value):
    assert answers[call] == value
