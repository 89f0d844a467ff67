"""The size space of NATS-Bench: one of eight widths for each of five layers, 32,768 architectures.

An architecture is written as the benchmark writes it, like "8:64:16:32:8". An index counts from 8:8:8:8:8, the last
width first.

Source: Dong et al. 2021 (arXiv:2009.00437).
"""

from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace

WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64)
NUM_LAYERS = 5

NATSBENCH_SIZE: SearchSpace = choice_space("natsbench-size", (WIDTHS,) * NUM_LAYERS)
