"""Rows of an experiment that are kept as they come: a stopped run goes on."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnas.report import save_results
from jaxnas.store import make_environment

RESULTS = Path(__file__).parent / "results"


def compute_rows(
    name: str,
    todo: list[dict[str, Any]],
    compute: Callable[..., dict[str, Any]],
    to_markdown: Callable[[list[dict[str, Any]]], str],
) -> list[dict[str, Any]]:
    """A row {"settings": settings, **compute(**settings)} for each of the settings in `todo`, in their order.

    Rows that results/NAME.json has for equal settings are taken from there: delete it after a change of the code. After
    every new row it is written again, with results/NAME.md beside it.
    """
    path, started = RESULTS / f"{name}.json", time.perf_counter()
    before = json.loads(path.read_text()) if path.exists() else {"rows": [], "environment": {"seconds": 0.0}}
    known = {_key(row["settings"]): row for row in before["rows"]}
    rows: list[dict[str, Any]] = []
    for number, settings in enumerate(todo, start=1):
        key = _key(settings)
        is_new = key not in known
        if is_new:
            known[key] = {"settings": settings, **compute(**settings)}
        rows.append(known[key])
        if is_new:
            environment = make_environment(before["environment"]["seconds"] + time.perf_counter() - started)
            save_results(RESULTS, name, {"environment": environment, "rows": list(known.values())}, to_markdown(rows))
            print(f"{number} of {len(todo)}: {', '.join(map(str, settings.values()))}", flush=True)
    print(to_markdown(rows))
    return rows


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
