"""Which proxies are defined for a network: the committed table, and errors that are not of a proxy."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS
from jaxnas.proxies import PROXIES
from jaxnas.proxies.defined import undefined_proxies

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RESULTS = EXPERIMENTS / "results" / "proxies_by_space.json"
CHEAP = ("nwot", "naswot", "swap", "near", "params")  # one forward pass


def recorded():
    """Return the undefined proxies of each space in the committed table, with the reasons."""
    if not RESULTS.exists():
        pytest.skip("the package of tests has no results of experiments")
    rows = json.loads(RESULTS.read_text())["rows"]
    return {row["settings"]["space"]: row["undefined"] for row in rows if row["settings"]["part"] == "defined"}


def network_of(space):
    sys.path.append(str(EXPERIMENTS))
    return importlib.import_module("proxies_by_space").small_network(space)


@pytest.mark.parametrize("space", ["declared: mobile, ReLU6", "declared: transformer"])
def test_the_table_has_what_a_forward_pass_finds(space):
    found = undefined_proxies(network_of(space), (32, 32, 3), {name: PROXIES[name] for name in CHEAP})
    assert found == {name: reason for name, reason in recorded()[space].items() if name in CHEAP}


@pytest.mark.slow
@pytest.mark.parametrize(
    "space",
    [*NETWORKS, "declared: mobile, ReLU6", "declared: Accel-NASBench, ReLU and gates", "declared: transformer"],
)
def test_the_table_has_what_the_engine_finds(space):
    assert undefined_proxies(network_of(space), (32, 32, 3)) == recorded()[space]


def test_images_that_a_network_does_not_take_raise_whatever_the_proxies():
    with pytest.raises(InputError, match="PatchEmbed of size 4"):
        undefined_proxies(NETWORKS["autoformer-tiny"](3, channels=4), (30, 30, 3), {"params": PROXIES["params"]})
