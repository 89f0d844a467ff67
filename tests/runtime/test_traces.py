"""Kept traces: read where all that decides them is equal, made again where anything differs or is damaged."""

import os
import subprocess
import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TinyNetwork

from jaxnas.networks import NASBench201Network
from jaxnas.proxies import PROXIES
from jaxnas.runtime import content
from jaxnas.runtime.cache import clear_cache, read_cache
from jaxnas.runtime.content import NoDescriptionError, describe, describe_code
from jaxnas.runtime.traces import KeptProgram
from jaxnas.scoring.config import ScoringConfig


class Pair(NamedTuple):
    """Two arrays."""

    first: jax.Array
    second: jax.Array


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of programs, in which this process keeps traces."""
    monkeypatch.setattr(KeptProgram, "is_on", True)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def run(*args, made_of=(1,), **options):
    """Run a small program as another process would; return what it gives and how often it was traced."""
    count = []

    def program(x, key, rest):
        count.append(1)
        noise = jax.random.normal(key, x.shape, x.dtype)
        return {"a": [jnp.sin(x) @ x + noise.sum(), None], "b": (rest["y"] + 1,)}

    args = args or (np.arange(3.0, dtype=np.float32), jax.random.key(3), {"y": np.float32(2)})
    return KeptProgram(jax.jit(program), *made_of, **options)(*args), len(count)


def test_a_kept_trace_is_read_and_gives_the_same_numbers(folder, monkeypatch):
    first, traced = run()
    again, read = run()
    monkeypatch.setattr(KeptProgram, "is_on", False)
    plain, traced_again = run()
    assert (traced, read, traced_again) == (1, 0, 1)
    for found in (first, again):
        assert jax.tree.structure(found) == jax.tree.structure(plain)
        jax.tree.map(np.testing.assert_array_equal, found, plain)
    assert read_cache(folder).traces == 1
    assert sorted(path.name.rpartition("-")[2] for path in folder.glob("trace_*")) == ["atime", "cache"]
    assert clear_cache(folder).traces == 1
    assert not list(folder.glob("trace_*"))


def test_what_decides_a_trace_makes_another(folder, monkeypatch):
    key, rest = jax.random.key(3), {"y": np.float32(2)}
    assert run()[1] == 1
    assert run(made_of=(2,))[1] == 1
    assert run(made_of=(1.0,))[1] == 1
    assert run(np.ones(4, np.float32), key, rest)[1] == 1
    assert run(np.ones(3, np.float16), key, rest)[1] == 1
    assert run(np.ones(3, np.float32), jax.random.key(0, impl="rbg"), rest)[1] == 1
    assert run(np.ones(3, np.float32), key, {**rest, "z": np.float32(1)})[1] == 1
    for setting in (jax.default_matmul_precision("bfloat16"), jax.enable_x64(True), jax.debug_nans(True)):
        with setting:
            assert [run()[1], run()[1]] == [1, 0]
    code = describe_code()
    for name in ("jaxnas", "jax", "flax"):
        monkeypatch.setattr(content, "describe_code", lambda name=name: {**code, name: "another"})
        assert [run()[1], run()[1]] == [1, 0]


def test_a_changed_source_is_another_code(tmp_path, monkeypatch):
    package = tmp_path / "jaxnas"
    (package / "runtime").mkdir(parents=True)
    (package / "runtime" / "content.py").write_text("a = 1\n")
    (package / "b.py").write_text("b = 1\n")
    monkeypatch.setattr(content, "__file__", str(package / "runtime" / "content.py"))
    with pytest.raises(NoDescriptionError, match="newer than this process"):
        describe_code.__wrapped__()
    monkeypatch.setattr(content, "_started", float("inf"))
    first = describe_code.__wrapped__()
    (package / "b.py").write_text("b = 2\n")
    second = describe_code.__wrapped__()
    (package / "b.py").rename(package / "c.py")
    third = describe_code.__wrapped__()
    assert len({each["jaxnas"] for each in (first, second, third)}) == 3
    assert {**first, "jaxnas": ""} == {**second, "jaxnas": ""}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "moved", "folder"])
def test_a_damaged_file_is_not_used(folder, damage):
    run()
    (path,) = folder.glob("trace_*-cache")
    content = path.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1) if damage == "flip" else (0,):
        if damage == "flip":
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        elif damage == "moved":  # the trace of another program under this name
            path.unlink()
            run(made_of=(2,))
            next(folder.glob("trace_*-cache")).rename(path)
        elif damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
        assert run()[1] == 1
        if damage != "folder":
            assert path.is_file()
            assert run()[1] == 0


def test_without_a_cache_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setenv("JAXNAS_CACHE", "0")
    assert [run()[1], run()[1]] == [1, 1]
    monkeypatch.delenv("JAXNAS_CACHE")
    jax.config.update("jax_compilation_cache_dir", None)
    assert [run()[1], run()[1]] == [1, 1]
    assert not list(folder.glob("trace_*"))


def test_a_folder_that_cannot_be_written_changes_nothing(folder):
    path = folder / "file"
    path.write_text("")
    jax.config.update("jax_compilation_cache_dir", str(path))
    assert [run()[1], run()[1]] == [1, 1]


def test_what_has_no_description_is_traced_by_each_process(folder):
    assert [run(made_of=(lambda: 1,))[1] for _ in range(2)] == [1, 1]
    assert [run(made_of=(TinyNetwork(),))[1] for _ in range(2)] == [1, 1]
    program = jax.jit(lambda x: Pair(x, x))  # of a class that is not of jaxnas
    assert KeptProgram(program)(np.ones(2)).second.shape == (2,)
    assert not list(folder.glob("trace_*"))


def test_an_error_of_the_traced_function_is_its_own(folder):
    def program(x):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        KeptProgram(jax.jit(program))(np.ones(2))


def test_a_program_of_several_devices(folder):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), "d")
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    for _ in range(2):
        program = jax.jit(jax.shard_map(jnp.cumsum, mesh=mesh, in_specs=split.spec, out_specs=split.spec))
        kept = KeptProgram(program, shardings=(split,))
        x = np.arange(2.0 * len(jax.devices()))
        np.testing.assert_array_equal(kept(x), program(x))


def test_descriptions_are_of_content():
    network = NASBench201Network(channels=4)
    one, another = (describe((network.clone(capacity=size), PROXIES["snip"])) for size in (None, ((1, 2),)))
    assert one == describe((NASBench201Network(channels=4), PROXIES["snip"]))
    assert one != another
    plain = [None, True, 1, 1.0, "1", (1,), [1], {"a": 1}, {"a": 2}, 0.0, -0.0, float("nan"), ScoringConfig(seed=1)]
    described = [str(describe(value)) for value in (*plain, ScoringConfig(), PROXIES["snip"], NASBench201Network)]
    assert len(set(described)) == len(described)
    assert [describe(function) for function in PROXIES.values()]
    assert describe(partial(PROXIES["snip"], 1)) != describe(partial(PROXIES["snip"], 2))


@pytest.mark.parametrize("value", [lambda: 1, object(), np.ones(2), np.float32(1), TinyNetwork(), {1}, print, Pair])
def test_values_without_a_description(value):
    with pytest.raises(NoDescriptionError):
        describe([value])


def test_a_function_that_was_replaced_has_no_description(monkeypatch):
    import jaxnas.proxies.gradient as gradient

    before = gradient.snip
    monkeypatch.setattr(gradient, "snip", gradient.grasp)
    with pytest.raises(NoDescriptionError):
        describe(before)


JOB = """
import jax, numpy as np, jaxnas
from jaxnas.data.images import ImageData
from jaxnas.objectives.training import TrainingObjective
traced = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **details: traced.append(details.get("fun_name")) if "jaxpr_trace" in event else None)
rng = np.random.default_rng(0)
network = jaxnas.NASBench201Network(num_classes=2, channels=2, cells_per_stage=1)
archs = jaxnas.sample(jaxnas.NASBENCH201, 4, seed=1)
images, labels = rng.normal(size=(40, 4, 4, 3)).astype(np.float32), np.arange(40, dtype=np.int32) % 2
scores = jaxnas.score_archs(network, archs, jaxnas.Batch(images[:4], labels[:4]), ["snip"])
data = ImageData("noise", images, labels, images[:6], labels[:6], 2)
accuracy = TrainingObjective(network, archs, data, jaxnas.TrainingConfig(epochs=1, batch_size=8))(0)
print(np.append(scores, accuracy).tobytes().hex(), traced.count("flat"))
"""


@pytest.mark.slow
def test_a_second_process_traces_no_large_program(tmp_path):
    """Scoring and training: the bodies are traced once, with the same numbers as without a cache."""
    found = []
    for variables in ({"JAXNAS_CACHE": "0"}, {}, {}):
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path), **variables}
        done = subprocess.run(
            [sys.executable, "-c", JOB], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        found.append(done.stdout.split())
    assert [count for _, count in found] == ["0", "4", "0"]  # draw, train, count_correct and score
    assert len({numbers for numbers, _ in found}) == 1


@pytest.mark.parametrize(("target", "kept"), [("__gpu$xla.gpu.triton", True), ("unknown", False)])
def test_a_trace_with_kernels_for_gpus_is_kept(folder, target, kept):
    """Their form depends on the version of JAX, as the key does; a call that nothing is known of is not kept."""

    def program(x):
        return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    x = np.arange(3.0, dtype=np.float32)
    text = KeptProgram(jax.jit(program), target).lower(x).as_text()
    assert f"@{target}" in text
    assert bool(list(folder.glob("*program*"))) is kept
