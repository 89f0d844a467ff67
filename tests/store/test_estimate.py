"""Plans of scoring jobs against what such jobs do."""

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network, draw_for_all
from jaxnas.proxies import PROXY_SETS, Batch, passes_of
from jaxnas.scoring.engine import ScoringConfig
from jaxnas.scoring.plan import make_program
from jaxnas.spaces import NASBENCH201, enumerate_archs, sample
from jaxnas.store.estimate import estimate, flops_per_arch

NETWORK = NASBench201Network(num_classes=2, channels=4, cells_per_stage=1)
BATCH = Batch(np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32), np.arange(8, dtype=np.int32) % 2)
NAMES = ("snip", "synflow")


def plan(folder, archs, **options):
    config = options.pop("config", ScoringConfig())
    return estimate(folder, NASBENCH201, NETWORK, archs, BATCH, NAMES, config, data_name="noise", **options)


@pytest.mark.slow
def test_the_whole_space_on_many_devices(tmp_path):
    config = ScoringConfig(strategy="grouped", memory=0.01)
    found = plan(tmp_path / "none", enumerate_archs(NASBENCH201), devices=8, throughput=10.0, config=config)
    assert (found.architectures, found.known, found.proxies, found.devices) == (15_625, 0, 2, 8)
    assert 4_000 < found.to_score < 6_000  # one of each network class
    assert 8 * (found.shard - 1) < found.to_score <= 8 * found.shard
    assert found.chunk * (found.chunks - 1) < found.shard <= found.chunk * found.chunks
    assert 0 < found.bytes_per_device < 0.012e9
    assert found.seconds == pytest.approx(found.to_score / 80)
    assert found.flops == pytest.approx(found.to_score * found.flops_per_arch)
    assert found.parts >= 1
    assert 15_625 * 24 < found.store_bytes < 15_625 * 200
    assert not (tmp_path / "none").exists()
    again = plan(tmp_path / "none", enumerate_archs(NASBENCH201), devices=8, config=config)
    assert (again.seconds, again.parts, again.throughput, again.throughput_from) == (None, None, None, "unknown")


@pytest.mark.slow
def test_what_a_store_knows_and_how_fast_it_was(tmp_path):
    archs = sample(NASBENCH201, 30, seed=0)
    given = (NASBENCH201, NETWORK, archs[:20], BATCH, NAMES)
    jaxnas.score_to_store(tmp_path, *given, data_name="noise")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    found = plan(tmp_path, archs)
    assert (found.architectures, found.known) == (30, 20)
    assert found.to_score <= 10
    assert found.throughput > 0
    assert found.throughput_from == "the store's parts"
    assert found.seconds == pytest.approx(10 / found.throughput / found.devices)
    assert plan(tmp_path, archs[:20])[:3] == (20, 20, 0)
    with pytest.raises(InputError, match="seed"):
        plan(tmp_path, archs, config=ScoringConfig(seed=1))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_operations_are_those_that_xla_counts(tmp_path):
    """The estimate counts convolutions only; XLA also counts elementwise operations."""
    arch = np.full((1, 6), 3, np.int8)
    network = NASBench201Network(num_classes=2, channels=16, cells_per_stage=1)
    draw = draw_for_all(network, (8, 8, 3), 6, seed=0)
    functions = ((NAMES[0], jaxnas.PROXIES[NAMES[0]]),)
    program = make_program(network.clone(capacity=((0, 0, 0, 1, 0),) * 6), functions, "grouped", False, True)
    counted = program.lower(np.ones(1, np.int32), arch, draw, BATCH).compile().cost_analysis()["flops"]
    assert flops_per_arch(network, arch, BATCH, NAMES[:1]) == pytest.approx(counted, rel=0.3)


def test_passes_are_shared():
    assert passes_of(["snip"]) == passes_of(["snip", "grad_norm", "fisher", "params"]) == (1, 1)
    assert passes_of(["jacob_cov", "snip"]) == (1, 2)
    assert passes_of(["grasp"]) == passes_of(["grasp", "snip"]) == (5, 1)
    assert passes_of(["az_expressivity", "az_trainability"]) == passes_of(["az_trainability"]) == (1, 1)
    assert passes_of(["flops", "mine"]) == (0, 0)
    assert all(number >= one for number, one in zip(passes_of(PROXY_SETS["nbsz"]), passes_of(["zen"]), strict=True))
