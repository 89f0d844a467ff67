"""The public names of `jaxnas.run`, imported when first used."""

from .comparison import compare_methods as compare_methods
from .comparison import load_comparison as load_comparison
from .config import CompareConfig as CompareConfig
from .config import RunConfig as RunConfig
from .config import TrainConfig as TrainConfig
from .config import run_config as run_config
from .load import load_run as load_run
from .load import load_selected as load_selected
from .method_runs import MethodComparison as MethodComparison
from .method_runs import MethodRuns as MethodRuns
from .record import run_record as run_record
from .run import Outcome as Outcome
from .run import Run as Run
from .search import search_images as search_images
from .search import search_network as search_network
from .sections import NetworkConfig as NetworkConfig
from .sections import ProblemConfig as ProblemConfig
from .sections import SearchConfig as SearchConfig
from .train import train_arch as train_arch
from .train import train_config as train_config
from .train import train_run as train_run
from .trained import TrainedArch as TrainedArch
