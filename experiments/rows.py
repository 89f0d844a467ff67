"""Compute the rows of an experiment and save each row at once, so that a stopped run resumes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnas.report import save_results
from jaxnas.store.store import make_environment

RESULTS = Path(__file__).parent / "results"


def compute_rows(
    name: str,
    todo: list[dict[str, Any]],
    compute: Callable[..., dict[str, Any]],
    to_markdown: Callable[[list[dict[str, Any]]], str],
) -> list[dict[str, Any]]:
    """Return a row {"settings": settings, **compute(**settings)} for each of the settings in `todo`, in their order.

    A row that results/NAME.json already has for equal settings is not computed again: delete the file after a change of
    the code. After every new row the file is written again, together with results/NAME.md, which shows all requested
    rows that exist.
    """
    path, started = RESULTS / f"{name}.json", time.perf_counter()
    before = json.loads(path.read_text()) if path.exists() else {"rows": [], "environment": {"seconds": 0.0}}
    known = {_key(row["settings"]): row for row in before["rows"]}
    keys = [_key(settings) for settings in todo]
    for number, (key, settings) in enumerate(zip(keys, todo, strict=True), start=1):
        if key not in known:
            known[key] = {"settings": settings, **compute(**settings)}
            environment = make_environment(before["environment"]["seconds"] + time.perf_counter() - started)
            markdown = to_markdown([known[key] for key in keys if key in known])
            save_results(RESULTS, name, {"environment": environment, "rows": list(known.values())}, markdown)
            print(f"{number} of {len(todo)}: {', '.join(map(str, settings.values()))}", flush=True)
    rows = [known[key] for key in keys]
    print(to_markdown(rows))
    return rows


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
