"""jaxnas: training-free neural architecture search on JAX.

space --sample--> archs [A D] --score_archs--> scores [A M] --normalize--> table [A M] --robot--> architecture
"""

from importlib.metadata import version

from jaxnas.catalogue import DATASETS, data_folder, download
from jaxnas.errors import InputError
from jaxnas.images import ImageData, from_arrays, load_images, minibatch, split_validation, standardize
from jaxnas.networks import NETWORKS, DeclaredNetwork, NASBench201Network, num_params
from jaxnas.objectives.tabular import align, load_nasbench201, load_proxy_scores, load_table, tabular_objective
from jaxnas.objectives.training import TrainingConfig, TrainingObjective
from jaxnas.pipeline import search_network
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.scoring import ScoringConfig, score_archs
from jaxnas.search import METHODS, PRESETS, RobotConfig, SearchResult, random_search, robot
from jaxnas.shipped import load_scores
from jaxnas.spaces import NASBENCH201, SPACES, SearchSpace, enumerate_archs, from_index, mutate, sample, to_index
from jaxnas.store import Scores, read_score_table, read_scores, score_to_store, write_scores
from jaxnas.table import combine, normalize

__version__ = version("jaxnas")

__all__ = [
    "DATASETS",
    "METHODS",
    "NASBENCH201",
    "NETWORKS",
    "PRESETS",
    "PROXIES",
    "SPACES",
    "Batch",
    "DeclaredNetwork",
    "ImageData",
    "InputError",
    "NASBench201Network",
    "Quantities",
    "RobotConfig",
    "Scores",
    "ScoringConfig",
    "SearchResult",
    "SearchSpace",
    "TrainingConfig",
    "TrainingObjective",
    "align",
    "combine",
    "data_folder",
    "download",
    "enumerate_archs",
    "from_arrays",
    "from_index",
    "load_images",
    "load_nasbench201",
    "load_proxy_scores",
    "load_scores",
    "load_table",
    "minibatch",
    "mutate",
    "normalize",
    "num_params",
    "random_search",
    "read_score_table",
    "read_scores",
    "robot",
    "sample",
    "score_archs",
    "score_to_store",
    "search_network",
    "split_validation",
    "standardize",
    "tabular_objective",
    "to_index",
    "write_scores",
]
