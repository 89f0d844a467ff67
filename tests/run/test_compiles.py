"""What compiles again when a setting changes."""

import jax
import numpy as np
import pytest
from tiny import TinyNetwork

from jaxnas import search_network
from jaxnas.data.images import ImageData
from jaxnas.objectives.config import TrainingConfig


@pytest.fixture
def programs():
    """Collect the names of compiled programs: the listener gets events of this process from then on."""
    names = []

    def listen(event, duration, fun_name=None, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_other_numbers_compile_nothing(tmp_path, programs):
    """Seeds and numbers of the schedule are arguments; only the steps of a method depend on pool and budget."""
    rng = np.random.default_rng(2)
    images, labels = rng.normal(size=(90, 4, 4, 2)).astype(np.float32), np.arange(90, dtype=np.int32) % 3
    data = ImageData("noise", images, labels, images[:6], labels[:6], 3)
    others = {"learning_rate": 0.1, "final_learning_rate": 0.01, "momentum": 0.5, "weight_decay": 0.0, "clip_norm": 1.0}
    trainings = [{"epochs": 1}, {"epochs": 1}, {"epochs": 1}, {"epochs": 2, **others}, {"epochs": 1}]
    seeds, budgets, pools = (0, 1, 2, 0, 0), (3, 3, 3, 3, 4), (9, 9, 9, 9, 8)
    selected, compiled = [], []
    for number, (seed, budget, pool, training) in enumerate(zip(seeds, budgets, pools, trainings, strict=True)):
        programs.clear()
        settings = dict(budget=budget, pool=pool, method="random", proxies="snip", batch_size=8, seed=seed)
        config = TrainingConfig(batch_size=4, **training)
        run = search_network(TinyNetwork(), data, tmp_path / str(number), training=config, **settings)
        selected.append(tuple(run.outcomes["random"].result.queries))
        compiled.append(set(programs))
    assert {"jit(draw)", "jit(count_correct)", "jit(score)", "jit(train)"} < compiled[0]
    assert compiled[1:4] == [set()] * 3
    assert compiled[4] <= {"jit(start)", "jit(propose)", "jit(record)"}
    assert len(set(selected)) > 2
