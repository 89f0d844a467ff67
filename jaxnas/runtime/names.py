"""The names of every choice as types, for configs, the command line and type checkers.

This module imports the standard library alone, as the command line reads it before JAX, whose import takes a second.
Tests assert that each alias lists the keys of the dictionary that it describes, in the same order.
"""

from collections.abc import Iterable
from typing import Literal, get_args

SpaceName = Literal[
    "nasbench201",
    "nasbench101",
    "transnas101-micro",
    "transnas101-macro",
    "darts",
    "mobilenet",
    "autoformer-tiny",
    "natsbench-size",
]
MethodName = Literal[
    "robot",
    "proxy_gp",
    "predictor_bo",
    "pretrained_predictor",
    "rank_weights",
    "rank_aggregation",
    "rank_sum",
    "single_proxy",
    "random",
    "rea",
    "reinforce",
    "local_search",
    "mcts",
    "hyperband",
    "bohb",
]
DEFAULT_METHOD: MethodName = "proxy_gp"
"""The method of a search that names none."""
PRESET_METHOD: MethodName = "robot"
"""The method that has presets: that of a search that names a preset and no method."""
PresetName = Literal["default", "paper"]
Normalization = Literal["minmax", "rank", "zrank", "clip", "log"]

ProxyName = Literal[
    "grad_norm",
    "snip",
    "grasp",
    "fisher",
    "synflow",
    "jacob_cov",
    "nwot",
    "flops",
    "params",
    "epe_nas",
    "l2_norm",
    "plain",
    "zen",
    "synflow_no_bn",
    "synflow_bn",
    "logsynflow",
    "zico",
    "grad_sign",
    "ntk_condition",
    "ntk_trace",
    "vkdnw",
    "naswot",
    "swap",
    "linear_regions",
    "meco",
    "near",
    "az_expressivity",
    "az_progressivity",
    "az_trainability",
    "num_layers",
    "dss",
]
ProxySet = Literal["robot", "nbsz", "az_nas", "vkdnw_agg", "te_nas", "all"]
ProxyOrSet = Literal[ProxyName, ProxySet]
ROBOT_PROXIES: tuple[ProxyName, ...] = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov")
"""The six proxies of He et al. 2024 (arXiv:2403.07591), which are the default."""

Direction = Literal["maximize", "minimize"]
OnFailure = Literal["stop", "count", "skip"]
Init = Literal["shared", "independent"]
Precision = Literal["float32", "tensorfloat32", "bfloat16"]
Strategy = Literal["auto", "loop", "grouped", "fused"]
Engine = Literal["local", "ray"]
OptimizerName = Literal["sgd", "adamw"]

ImageName = Literal["digits", "cifar10", "cifar100", "tiny16"]
DownloadName = Literal["cifar10", "cifar100", "robot", "nasbench-bert"]
TableName = Literal["nasbench201"]
Task = Literal["class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal", "autoencoder"]
Tracker = Literal["tensorboard", "mlflow"]
ExportName = Literal["flax", "torch", "onnx", "stablehlo"]

PLUGIN_GROUP = "jaxnas.plugins"
"""The group of entry points by which installed packages name the modules of their plugins."""


def names(alias: object) -> tuple[str, ...]:
    """Return the names that a `Literal` alias of this module lists, in its order."""
    return get_args(alias)


def split_names(listed: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of a sequence, or of a text that holds one or several separated by commas."""
    return tuple(filter(None, map(str.strip, listed.split(",")))) if isinstance(listed, str) else tuple(listed)
