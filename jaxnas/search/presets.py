"""Named settings of RoBoT."""

from jaxnas.errors import unknown_name
from jaxnas.search.bo import RobotConfig

PRESETS: dict[str, RobotConfig] = {
    "default": RobotConfig(),
    # As published, with min-max normalised scores: He et al. 2024 (arXiv:2403.07591).
    "paper": RobotConfig(kappa=2.576, distinct=False, num_candidates=10_000),
}


def get_preset(name: str) -> RobotConfig:
    """The preset of that name.

    Raises: InputError with the nearest name if there is none.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
