"""The stopwatch separates compiling from running and counts nested spans once."""

import threading
import time

import jax
import jax.numpy as jnp

from jaxnas.runtime.timing import Ahead, Stopwatch, watch_programs


def test_compiling_is_apart_from_the_stage_and_adds_up_with_it():
    watch = Stopwatch()
    started = time.perf_counter()
    with watch.stage("work"):
        jax.jit(lambda x: jnp.sin(jax.jit(jnp.cos)(x)))(jnp.ones(3)).block_until_ready()
        time.sleep(0.05)
    with watch.stage("idle"):
        pass
    whole = time.perf_counter() - started
    assert watch.seconds["compiling"] > 0
    assert watch.seconds["work"] >= 0.05
    assert watch.seconds["idle"] < 0.05
    assert sum(watch.seconds.values()) <= whole


def test_nested_spans_count_once_and_nothing_is_heard_between_stages():
    watch = Stopwatch()
    for start, end in ((2.0, 3.0), (4.0, 5.0), (1.0, 6.0), (7.0, 8.0)):  # the third contains the first two
        watch._listen("/jax/core/compile/x", start, end)
    watch._listen("/jax/other", 0.0, 100.0)
    assert watch._compiled() == 6.0
    jax.jit(lambda x: x + 41)(jnp.ones(2))
    assert watch._compiled() == 6.0


def test_what_a_thread_compiles_ahead_counts_only_while_it_is_waited_for():
    watch, free, called = Stopwatch(), threading.Event(), []

    def compile_one():
        free.wait()
        jax.jit(lambda x: jnp.tan(x) - 3)(jnp.ones(5))
        time.sleep(0.1)
        called.append("first")

    ahead = Ahead(compile_one, lambda: called.append(1 / 0), lambda: called.append("last"))
    with watch.stage("scoring"):
        time.sleep(0.05)
    assert watch.seconds["compiling"] == 0
    free.set()
    with watch.stage("searching"):
        ahead.wait()
        ahead.wait()
    assert called == ["first", "last"]
    assert watch.seconds["compiling"] >= 0.1


def test_tasks_that_have_not_begun_are_left_out():
    free, called = threading.Event(), []
    ahead = Ahead(free.wait, lambda: called.append("second"))
    ahead.cancel()
    free.set()
    ahead.wait()
    assert called == []


def test_every_program_is_reported_with_its_seconds():
    seen = []
    watch_programs(seen.append)

    def chart(x):
        return jnp.cos(jnp.sin(x) + 17)

    jax.jit(chart)(jnp.ones(7))
    ahead = Ahead(lambda: jax.jit(lambda x: jnp.tan(x) - 31)(jnp.ones(6)))
    ahead.wait()
    (program,) = (each for each in seen if each.name == "chart")
    assert min(program.tracing, program.lowering, program.compiling) > 0
    assert not program.is_ahead
    assert str(program).startswith("program chart: tracing 0.")
    assert [each.is_ahead for each in seen if each.name == "<lambda>"] == [True]
    number = len(seen)
    jax.jit(chart)(jnp.ones(7))
    assert len(seen) == number  # it is ready
