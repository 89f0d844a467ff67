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
    """Collect the compilations of the test: the listener gets events of this process from then on."""
    durations = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            durations.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield durations
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_new_seed_compiles_nothing(tmp_path, programs):
    rng = np.random.default_rng(2)
    images, labels = rng.normal(size=(90, 4, 4, 2)).astype(np.float32), np.arange(90, dtype=np.int32) % 3
    data = ImageData("noise", images, labels, images[:6], labels[:6], 3)
    settings = dict(budget=3, pool=9, method="random", proxies="snip", batch_size=8)
    selected, compiled = [], []
    for seed in (0, 1, 2):
        programs.clear()
        training = TrainingConfig(epochs=1, batch_size=4)
        run = search_network(TinyNetwork(), data, tmp_path / str(seed), seed=seed, training=training, **settings)
        selected.append(tuple(run.outcomes["random"].result.queries))
        compiled.append(len(programs))
    assert compiled[0] > 0
    assert compiled[1:] == [0, 0]
    assert len(set(selected)) > 1
