"""What tests of blocks share."""

import pytest

from tests.integration import require


@pytest.fixture(scope="module")
def torch():
    """Return PyTorch, in which the references are written."""
    return require("torch")
