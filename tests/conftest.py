"""Fixtures shared by all tests: the folder of public tables, and strict JAX flags."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public tables and images, from JAXNAS_DATA; skips, or fails when JAXNAS_REQUIRE_DATA=1."""
    folder = os.environ.get("JAXNAS_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"JAXNAS_DATA={folder!r} names no folder of public tables"
    if os.environ.get("JAXNAS_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
