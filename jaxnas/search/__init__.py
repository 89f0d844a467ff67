"""Search methods, `METHODS` by name: `robot(table, objective, budget=20, seed=0)` runs one.

The parts of a method are in `pool`, `history` and `method`; `loop` has its compiled steps and `run` runs a search.
"""

from jaxnas.errors import unknown_name
from jaxnas.search.baselines import SingleProxyConfig, random_search, rank_aggregation, rank_sum, single_proxy
from jaxnas.search.config import PredictorConfig, ProxyGPConfig, RobotConfig
from jaxnas.search.history import History, Phase, Proposal, SurrogateInfo
from jaxnas.search.hyperband import BohbConfig, bohb, hyperband
from jaxnas.search.method import AnyMethod, Method
from jaxnas.search.mutation import ReaConfig, local_search, rea
from jaxnas.search.policy import ReinforceConfig, reinforce
from jaxnas.search.pool import Pool, next_in_ranking, pick, unweighted
from jaxnas.search.predictor import predictor_bo
from jaxnas.search.pretrained_predictor import PretrainedPredictorConfig, pretrained_predictor
from jaxnas.search.proxy_gp import proxy_gp
from jaxnas.search.rank_weights import RankWeightsConfig, rank_weights
from jaxnas.search.ranking import Ranking, carry_over, predict_ranking
from jaxnas.search.result import Query, SearchResult
from jaxnas.search.robot import PRESETS, get_preset, robot
from jaxnas.search.run import Objective, run_search, run_seeds
from jaxnas.search.tree import TreeConfig, mcts

__all__ = [
    "METHODS",
    "PRESETS",
    "BohbConfig",
    "History",
    "Method",
    "Objective",
    "Phase",
    "Pool",
    "PredictorConfig",
    "PretrainedPredictorConfig",
    "Proposal",
    "ProxyGPConfig",
    "Query",
    "RankWeightsConfig",
    "Ranking",
    "ReaConfig",
    "ReinforceConfig",
    "RobotConfig",
    "SearchResult",
    "SingleProxyConfig",
    "SurrogateInfo",
    "TreeConfig",
    "bohb",
    "carry_over",
    "get_method",
    "get_preset",
    "hyperband",
    "local_search",
    "mcts",
    "next_in_ranking",
    "pick",
    "predict_ranking",
    "predictor_bo",
    "pretrained_predictor",
    "proxy_gp",
    "random_search",
    "rank_aggregation",
    "rank_sum",
    "rank_weights",
    "rea",
    "reinforce",
    "robot",
    "run_search",
    "run_seeds",
    "single_proxy",
    "unweighted",
]

METHODS: dict[str, AnyMethod] = {
    method.name: method
    for method in (
        *(robot, proxy_gp, predictor_bo, pretrained_predictor, rank_weights, rank_aggregation, rank_sum, single_proxy),
        *(random_search, rea, reinforce, local_search, mcts, hyperband, bohb),
    )
}


def get_method(name: str) -> AnyMethod:
    """Return the method of a name.

    Raises:
        InputError: Unknown name; the message has the nearest one.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]
