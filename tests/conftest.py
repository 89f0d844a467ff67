"""Fixtures shared by all tests: the folder of public tables, and strict JAX flags."""

import os
import tempfile
from pathlib import Path

import jax
import jaxtyping
import pytest

# Most of a test's time is compilation, which is a third shorter without LLVM's optimisations.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# The test processes and later runs share the compiled programs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir(), "jaxnas-tests-xla")))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_numpy_rank_promotion", "raise")

# Shapes and types are checked at run time, in tests alone, except where a module checks what users give it itself:
# tests give those wrong names and types to see the error.
CHECK_THEMSELVES = {
    *("jaxnas.networks.nasbench201", "jaxnas.networks.transnas101", "jaxnas.networks.transnas101_macro"),
    *("jaxnas.networks.declared.network", "jaxnas.networks.declared.ops"),
    *("jaxnas.testing.proxies", "jaxnas.testing.networks", "jaxnas.testing.methods", "jaxnas.testing.spaces"),
    "jaxnas.networks.kernels.dispatch",  # JAX calls its rules with values of its own types
    *("jaxnas.scoring.config", "jaxnas.objectives.config", "jaxnas.cli.completion", "jaxnas.cli.lists"),
    "jaxnas.cli.progress",
    *("jaxnas.run.config", "jaxnas.run.sections", "jaxnas.search.config"),
}
PACKAGE = Path(__file__).parents[1] / "jaxnas"
MODULES = {".".join(("jaxnas", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in PACKAGE.rglob("*.py")}
# Proxies give an `Unfinished` in place of a number where a device has no float64, and stand-ins take their arguments.
PROXIES = {name for name in MODULES if name.startswith("jaxnas.proxies.")}
jaxtyping.install_import_hook(sorted(MODULES - CHECK_THEMSELVES - PROXIES), "beartype.beartype")


@pytest.fixture
def stand_ins():
    """Check no types: the test passes objects that only look like those of the package."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def _release_programs():
    """Release compiled programs: each holds memory maps, and XLA:CPU crashes above Linux's limit of 65,530."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of public tables and images, JAXNAS_DATA; skip, or fail if JAXNAS_REQUIRE_DATA=1."""
    return _folder("JAXNAS_DATA", os.environ.get("JAXNAS_DATA"), "public tables")


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Return the folder of reference params and values: JAXNAS_GOLDEN, or `golden` next to JAXNAS_DATA.

    Skips or fails like `data_folder`.
    """
    data = os.environ.get("JAXNAS_DATA")
    default = str(Path(data).parent / "golden") if data else None
    return _folder("JAXNAS_GOLDEN", os.environ.get("JAXNAS_GOLDEN", default), "reference values")


def _folder(variable, folder, content):
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"{variable}={folder!r} names no folder of {content}"
    if os.environ.get("JAXNAS_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
