"""What the shell completes. Names are written down here: asking the library for them takes a second of imports."""

from collections.abc import Callable
from pathlib import Path

import typer

SPACES = ("nasbench201", "transnas101-micro", "transnas101-macro", "darts")
METHODS = (
    *("robot", "predictor_bo", "rank_aggregation", "rank_sum", "single_proxy"),
    *("random", "rea", "reinforce", "local_search", "hyperband", "bohb"),
)
PROXIES = (
    *("grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov", "nwot", "flops", "params", "epe_nas", "l2_norm"),
    *("plain", "zen", "synflow_no_bn", "synflow_bn", "logsynflow", "zico", "grad_sign", "ntk_condition", "ntk_trace"),
    *("vkdnw", "naswot", "swap", "linear_regions", "meco", "near"),
    *("az_expressivity", "az_progressivity", "az_trainability", "num_layers"),
    *("robot", "nbsz", "az_nas", "vkdnw_agg", "te_nas", "all"),
)
IMAGES = ("digits", "cifar10", "cifar100", "tiny16")
DOWNLOADS = ("cifar10", "cifar100", "robot")
TASKS = ("class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal", "autoencoder")
PRESETS = ("default", "paper")
NORMALIZATIONS = ("minmax", "rank", "zrank", "clip", "log")
ENGINES = ("local", "ray")
INITS = ("shared", "independent")
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
STRATEGIES = ("auto", "loop", "grouped")
TABLES = ("nasbench201",)
TRACKERS = ("tensorboard", "mlflow")


def one_of(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Complete a name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def some_of(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Complete the last name of a comma-separated list by those that are not in it yet."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in given]

    return complete


def shipped(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a data set of which there are shipped scores of the command's space."""
    given = [*context.args, context.params.get("space")]  # the former where a last option has no value yet
    space = next((name for name in given if name in SPACES), SPACES[0])
    files = sorted(Path(__file__).parents[1].glob(f"store/shipped/{space}-{incomplete}*.parquet"))
    return [path.stem.removeprefix(f"{space}-") for path in files]
