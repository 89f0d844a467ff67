"""What the surrogate of a search learned of the architectures, in sentences."""

from collections.abc import Sequence

import numpy as np

from jaxnas.runtime.measures import Measure
from jaxnas.search import SearchResult
from jaxnas.search.history import HORIZON
from jaxnas.search.result import sign_of

LEAST = 0.01  # points: a smaller gain is shown as such
LONGEST = 15  # queries up to which the gain is shown: after 20 it is a seventh of the actual one (see docs/methods.md)


def describe_surrogate(result: SearchResult, proxies: Sequence[str], measure: Measure) -> list[str]:
    """Return the effects of the proxies, how well predictions fit, and the gain to expect of further queries.

    The effects and the gain are those of the last query that the surrogate chose. The gain is left out after more than
    `LONGEST` queries, where it is far too low. The list is empty for a method whose surrogate is not over
    architectures.

    Args:
        result: The search.
        proxies: The names of the proxies.
        measure: What the objective measures.
    """
    info, sign = result.info, sign_of(result.direction)
    chosen = np.flatnonzero(np.isfinite(info.gain))
    if not len(chosen):
        return []
    last, unit = chosen[-1], "points" if measure.unit else f"in {measure.name}"
    effects = ", ".join(
        f"{name} {sign * effect:+{measure.digits}}+-{std:{measure.digits}}"
        for name, effect, std in zip(proxies, info.effect[last], info.effect_std[last], strict=True)
        if np.isfinite(effect)
    )
    lines = []
    if effects:
        lines.append(
            f"expected before any query: {info.slope[last]:.2f} of the proxies' consensus; effect of a proxy that is "
            f"one deviation higher, {unit}: {effects}"
        )
    seen = chosen[np.isfinite(result.objective[chosen])]
    if len(seen):
        error = np.sqrt(np.mean((sign * info.mean[seen] - result.objective[seen]) ** 2))
        number = "1 query was" if len(seen) == 1 else f"{len(seen)} queries were"
        lines.append(f"{number} predicted with an error of {measure.number(error)} {unit} (root mean square)")
    if last >= LONGEST:
        return lines
    expected = float(info.gain[last])
    gain = f"less than {LEAST}" if measure.unit and expected < LEAST else measure.number(expected)
    lines.append(f"this model expects another {HORIZON} queries to gain {gain} {unit}")
    return lines
