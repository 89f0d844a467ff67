"""Search spaces and networks declared as a list of blocks with choices of widths, depths and ops."""

from jaxnas.networks.declared.choices import Choice as Choice
from jaxnas.networks.declared.network import *  # noqa: F403  the public names are listed there
