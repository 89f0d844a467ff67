"""The public names of `jaxnas.scoring`, imported when first used."""

from .config import ScoringConfig as ScoringConfig
from .engine import DEFAULT_PROXIES as DEFAULT_PROXIES
from .engine import check_batch as check_batch
from .engine import get_proxies as get_proxies
from .engine import iter_scores as iter_scores
from .engine import output_shape as output_shape
from .engine import representatives as representatives
from .engine import score_archs as score_archs
from .engine import strategy_of as strategy_of
