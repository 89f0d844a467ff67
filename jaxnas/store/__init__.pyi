"""The public names of `jaxnas.store`, imported when first used."""

from .scores import Scores as Scores
from .scores import summarize as summarize
from .shipped import load_scores as load_scores
from .shipped import shipped_scores as shipped_scores
from .store import DEFAULT_CONFIG as DEFAULT_CONFIG
from .store import collect_scores as collect_scores
from .store import fill_store as fill_store
from .store import make_environment as make_environment
from .store import make_provenance as make_provenance
from .store import score_to_store as score_to_store
from .tables import read_score_table as read_score_table
from .tables import read_scores as read_scores
from .tables import write_score_table as write_score_table
from .tables import write_scores as write_scores
