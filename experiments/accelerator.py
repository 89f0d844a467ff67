"""Measure scoring and training on the accelerator of this machine, its kernels, and eager PyTorch, in one command.

    python experiments/accelerator.py [--minutes 9] [--small] [--again]

The networks are those of NAS-Bench-201 at full size (16 channels, 5 cells per stage, batch 64, 32 x 32 pixels), the
cells one of each network class without dead edges. The parts, each a process of its own:

- RoBoT's six proxies in tensorfloat32 with the strategies "fused" and "grouped", these two alone on the machine:
  seconds of tracing, lowering and compiling, of the first chunk, networks a second, and the time of kernels and the
  bytes that the program moves by kind;
- then, compiling at once as far as there are cores, and measured one after another, all scoring with both strategies:
  the six again from the cache of compiled programs and in float32, the thirteen of NAS-Bench-Suite-Zero, eager PyTorch
  with each proxy's own passes and with shared passes, with and without tensorfloat32, and the training of eight
  candidates one by one, together with and without kernels of their own, and one by one in eager PyTorch;
- on the CPU the scores of some cells in float64, with which all others are compared.

The strategy "fused" needs an NVIDIA GPU: elsewhere its parts are left out, and named.

Passes are the bytes that the program moves in units of one read and one write of the features of all edges. Bytes and
kernels are counted in `hlo_bytes.py`; of fusions and caches of a CPU they say little about a GPU. PyTorch runs without
CUDA graphs and torch.compile: a graph serves one architecture, each of which is scored once, and torch.compile has no
second derivative, which grasp needs.

The machine needs JAX, flax and NumPy, and PyTorch for its part (`bare.py`). Images are CIFAR-10's if the data folder is
given (`JAXNAS_DATA`), else noise. Parts that do not end within `--minutes` are left out, and named. Every part that
ended is written to results/accelerator.json at once, and results/accelerator.md has the tables; a part that the file
has, of the same device and versions, is not measured again unless `--again` is given. `--small` measures small networks
in half an hour on two cores, and writes to the current folder: it shows that the script works.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty, Queue

from accelerator_tables import to_markdown

RESULTS = Path(__file__).parent / "results"
READY, GO, RESULT = "ready", "go", "result "
RESERVE = 20.0  # seconds left for the tables
CORES = 1  # of the machine, for each part that compiles at the same time
PREPARING = 0.6  # share of the time for which parts that are ready wait for those that are not


@dataclass(frozen=True)
class Part:
    """What one process measures.

    Attributes:
        kind: "score", "torch", "train" or "reference".
        proxies: Names of proxies or sets, of "score".
        precision: Of "score" and "torch".
        number: Networks that are scored; candidates that train.
        strategy: Of "score" that of `ScoringConfig`, of "train" that of `Trainer`, or "torch".
        chunk: Networks scored at once.
        shared: Whether PyTorch shares passes.
        profiled: Whether kernels and bytes are counted.
        cached: Whether an earlier part left the compiled program.
        small: Whether networks are small.
    """

    kind: str
    proxies: str = "robot"
    precision: str = "float32"
    number: int = 192
    strategy: str = ""
    chunk: int = 48
    shared: bool = False
    profiled: bool = False
    cached: bool = False
    small: bool = False

    def __str__(self) -> str:
        """What a person reads."""
        names = {"score": f"{self.proxies}, {self.precision}, {self.strategy}", "reference": "float64 on the CPU"}
        names["torch"] = f"eager PyTorch, {'shared' if self.shared else 'own'} passes, {self.precision}"
        names["train"] = f"training of {self.number} candidates, {self.strategy}"
        return names[self.kind] + (", from the cache" if self.cached else "")


TF32 = "tensorfloat32"
STRATEGIES = ("fused", "grouped")
FIRST = tuple(Part("score", precision=TF32, number=240, strategy=one, profiled=True) for one in STRATEGIES)
THEN = (  # the most important first
    *(replace(part, profiled=False, cached=True) for part in FIRST),
    Part("reference", number=24),
    Part("torch", precision=TF32, number=12),
    Part("torch", precision=TF32, number=12, shared=True),
    *(Part("train", number=8, strategy=one) for one in ("fused", "loop", "vmapped", "torch")),
    *(Part("score", proxies="nbsz", precision=TF32, strategy=one) for one in STRATEGIES),
    *(Part("score", strategy=one) for one in STRATEGIES),
    Part("torch", number=12),
    Part("torch", number=12, shared=True),
)


def shrink(part: Part) -> Part:
    """Return the part with small networks."""
    return replace(part, small=True, number=min(part.number, 16), chunk=8)


def measurable(parts: list[Part], platform: str) -> list[Part]:
    """Return the parts that a platform of JAX can measure, and print the others."""
    lacking = [part for part in parts if part.strategy == "fused" and platform != "gpu"]
    for part in lacking:
        print(f"{part}: left out, its kernels need an NVIDIA GPU, and JAX has {platform}", flush=True)
    return [part for part in parts if part not in lacking]


class Child:
    """A process that gets ready, waits for its turn, and measures."""

    def __init__(self, part: Part, cache: str) -> None:
        """Start it."""
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_COMPILATION_CACHE_DIR": cache}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        if part.kind == "reference":
            environment |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
        self.part, self.is_ready, self.is_done = part, False, False
        self._lines: Queue[str | None] = Queue()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--part", json.dumps(asdict(part))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait(self, until: float, prefix: str) -> str | None:
        """Return the next line that begins with the prefix; None if the process ends, or has none in time."""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return None
            if line is None or line.startswith(prefix):
                self.is_ready |= line == READY
                return line
            print(f"  {self.part}: {line}", flush=True)

    def measure(self, until: float) -> dict | None:
        """Let it measure, and return the result; None if there is none in time."""
        try:
            self.process.stdin.write(f"{GO}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self.wait(until, RESULT)
        return None if line is None else json.loads(line.removeprefix(RESULT))

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def run_part(part: Part) -> None:
    """Get ready, wait for the turn, measure, and print the result (in the process of a part)."""
    import accelerator_parts

    steps = accelerator_parts.measure(part)
    next(steps)
    print(READY, flush=True)
    sys.stdin.readline()
    print(RESULT + json.dumps(next(steps)), flush=True)


def measure_all(parts: list[Part], device: str, minutes: float, keep: Callable[[dict], None]) -> None:
    """Measure the parts, those that are profiled alone, and pass each result to `keep`."""
    end = time.monotonic() + 60 * minutes - RESERVE
    with tempfile.TemporaryDirectory() as cache:
        others, size = [part for part in parts if not part.profiled], max(1, (os.cpu_count() or 1) // CORES)
        groups = [others[start : start + size] for start in range(0, len(others), size)]
        groups = [group for group in ([part for part in parts if part.profiled], *groups) if group]
        for group in groups:
            children = [Child(part, cache) for part in group]
            began = time.monotonic()
            try:
                patient = began + PREPARING * (end - began)
                for child in in_turn(children, patient, end if group is groups[-1] else patient):
                    if (result := child.measure(end)) is not None:
                        print(f"{child.part}: {time.monotonic() - began:.0f} s", flush=True)
                        keep({"settings": {**asdict(child.part), "device": device}, **result})
                        child.is_done = True
                    child.stop()
            finally:
                for child in children:
                    child.stop()
                    if not child.is_done:
                        print(f"{child.part}: left out, no result within {minutes:g} minutes, or it failed", flush=True)


def in_turn(children: list[Child], patient: float, end: float) -> Iterator[Child]:
    """Yield the children that are ready until `end`: none before all are, have failed, or `patient` has passed.

    While others compile, measurements are disturbed.
    """
    left = [child for child in children if child.wait(patient, READY) or child.process.poll() is None]
    for child in sorted(left, key=lambda child: not child.is_ready):
        if child.is_ready or child.wait(end, READY):
            yield child


def main() -> None:
    """Measure what is not known yet, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="time for all parts")
    parser.add_argument("--small", action="store_true", help="small networks, results in the current folder")
    parser.add_argument("--again", action="store_true", help="measure parts again that the results have")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        run_part(Part(**json.loads(given.part)))
        return
    asked = "import jax; print(jax.default_backend(), jax.devices()[0].device_kind, 'jax', jax.__version__)"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    platform, device = found.split(" ", 1)
    path = (Path() if given.small else RESULTS) / "accelerator.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    parts = measurable([shrink(part) if given.small else part for part in (*FIRST, *THEN)], platform)
    known = [] if given.again else [row["settings"] for row in rows]
    todo = [part for part in parts if {**asdict(part), "device": device} not in known]

    def keep(row: dict) -> None:
        rows[:] = [one for one in rows if one["settings"] != row["settings"]] + [row]
        for name, text in (
            ("accelerator.json", json.dumps({"rows": rows}, indent=1)),
            ("accelerator.md", to_markdown(rows)),
        ):
            partial = path.with_name(f"{name}.partial")
            partial.write_text(text)
            partial.replace(path.with_name(name))

    measure_all(todo, device, given.minutes, keep)
    print(to_markdown(rows))


if __name__ == "__main__":
    main()
