"""The settings of scoring: a frozen configuration, imported without JAX."""

from dataclasses import dataclass

from jaxnas.errors import InputError
from jaxnas.runtime.names import Init, Precision, Strategy
from jaxnas.runtime.settings import check, check_seed, setting


@dataclass(frozen=True)
class ScoringConfig:
    """Settings of scoring: `seed`, `init`, `precision` and `one_per_class` decide the scores, the others do not.

    Attributes:
      seed: seed of the initial params, and of what proxies draw themselves.
      init: "shared" draws one set of params, from which every architecture takes those of its ops; "independent" draws
        a set for each, from the seed and the architecture's index in its space.
      precision: precision of the operands of convolutions; sums are float32. "tensorfloat32" is float32 on devices that
        lack it. grasp has float32 operands in every precision; other proxies whose terms cancel (plain, epe_nas) rank
        less exactly in the lower ones.
      one_per_class: score one architecture of each network class, without its dead edges, and give its score to the
        others, where every proxy is a function of the live network alone. False scores each as it stands, which
        changes synflow and fisher where a dead convolution is fed with zeros (2,140 of NAS-Bench-201).
      strategy: "loop" scores one by one, "grouped" many at once, "fused" many at once by kernels for NVIDIA GPUs (see
        `plan`); "auto" loops on CPUs, and for networks that cannot choose ops for groups, and groups elsewhere.
      chunk_size: architectures that a device scores at once; None for as many as memory allows.
      memory: GB of one device that a chunk may take; None for most of the free memory.
    """

    seed: int = 0
    init: Init = setting("shared", "Initial params: one draw for all architectures, or one for each.")
    precision: Precision = setting("float32", "Precision of the operands of convolutions.", "Hardware")
    one_per_class: bool = True
    strategy: Strategy = setting(
        "auto",
        "Score one by one, or many at once; fused: by kernels for NVIDIA GPUs; auto loops on CPUs, groups elsewhere.",
        "Hardware",
    )
    chunk_size: int | None = None
    memory: float | None = setting(
        None, "GB of a device that grouped scoring may take.", "Hardware", shown="most of what is free"
    )

    def __post_init__(self) -> None:
        """Check names and ranges."""
        check(self)
        check_seed(self.seed)
        if self.chunk_size is not None and self.chunk_size < 1:
            raise InputError(f"`chunk_size` must be at least 1, got {self.chunk_size}")
        if self.memory is not None and not self.memory > 0:
            raise InputError(f"`memory` must be above 0 GB, got {self.memory}")
