"""The public names of `jaxnas.spaces`, imported when first used."""

from .autoformer import AUTOFORMER_TINY as AUTOFORMER_TINY
from .darts import DARTS as DARTS
from .mobilenet import MOBILENET as MOBILENET
from .mutation import mutate as mutate
from .named import SPACES as SPACES
from .named import get_space as get_space
from .named import space_of as space_of
from .nasbench101 import NASBENCH101 as NASBENCH101
from .nasbench201 import NASBENCH201 as NASBENCH201
from .natsbench_size import NATSBENCH_SIZE as NATSBENCH_SIZE
from .space import SearchSpace as SearchSpace
from .space import check_archs as check_archs
from .space import enumerate_archs as enumerate_archs
from .space import equal_rows as equal_rows
from .space import find_rows as find_rows
from .space import from_index as from_index
from .space import read_archs as read_archs
from .space import sample as sample
from .space import to_index as to_index
from .transnas101 import TRANSNAS101_MACRO as TRANSNAS101_MACRO
from .transnas101 import TRANSNAS101_MICRO as TRANSNAS101_MICRO
