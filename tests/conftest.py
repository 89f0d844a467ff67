"""Fixtures shared by all tests: the folder of public tables, and strict JAX flags."""

import os
import signal
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

# Shapes and types are checked at run time, in tests alone, except where a module checks what users give it itself, or
# typer calls it: tests give those wrong names and types to see the error.
CHECK_THEMSELVES = {
    *("jaxnas.scoring.config", "jaxnas.objectives.config", "jaxnas.search.config"),
    *("jaxnas.run.config", "jaxnas.run.sections"),
    *("jaxnas.cli.completion", "jaxnas.cli.lists", "jaxnas.cli.progress"),
}
# Networks take arrays of NumPy wherever flax does, and `Unfinished` stands for a number of a proxy on some devices.
OF_MANY_FORMS = ("jaxnas.networks.", "jaxnas.proxies.", "jaxnas.testing.")
KERNELS = {f"jaxnas.networks.kernels.{name}" for name in ("convolution", "depthwise", "pools")}
PACKAGE = Path(__file__).parents[1] / "jaxnas"
MODULES = {".".join(("jaxnas", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in PACKAGE.rglob("*.py")}
CHECKED = {name for name in MODULES - CHECK_THEMSELVES if not name.startswith(OF_MANY_FORMS)} | KERNELS
jaxtyping.install_import_hook(sorted(CHECKED), "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def _heed_interrupts():
    """Let children heed Ctrl-C, which those of a job in the background of a shell ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _keep_no_traces():
    """Trace every program: tests replace functions of the package, which the keys of kept traces do not see."""
    from jaxnas.runtime.traces import KeptProgram

    KeptProgram.is_on = False


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
