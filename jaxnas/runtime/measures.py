"""The name, unit and rounding of measured values, for everything that prints or draws them."""

import math
from typing import NamedTuple


class Measure(NamedTuple):
    """What a number measures, and how it is shown: percent with two decimals, other values with six digits.

    Attributes:
      name: its words, such as "validation accuracy", or the name of a column or of an objective.
      unit: "%" or an empty text.
      failed: the words for a candidate without a value.
    """

    name: str
    unit: str = ""
    failed: str = "failed"

    @property
    def title(self) -> str:
        """Name and unit, as the title of an axis or of a column."""
        return f"{self.name} {self.unit}".rstrip()

    @property
    def digits(self) -> str:
        """The format of its values, which Python and Vega read alike."""
        return ".2f" if self.unit else ".6g"

    def number(self, value: float, missing: str = "-") -> str:
        """Return a value without its unit; `missing` for NaN and inf."""
        return f"{value:{self.digits}}" if math.isfinite(value) else missing

    def show(self, value: float, missing: str = "-") -> str:
        """Return a value with its unit; `missing` for NaN and inf."""
        return f"{self.number(value)} {self.unit}".rstrip() if math.isfinite(value) else missing


ACCURACY = Measure("validation accuracy", "%", "diverged")
TEST_ACCURACY = Measure("test accuracy", "%", "diverged")
OBJECTIVE = Measure("objective")  # where several are shown together
