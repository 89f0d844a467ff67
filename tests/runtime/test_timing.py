"""The stopwatch separates compiling from running and counts nested spans once."""

import time

import jax
import jax.numpy as jnp

from jaxnas.runtime.timing import Stopwatch


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
