"""A report: one HTML file that needs no network, of one search or of several."""

import json
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np

from jaxnas.errors import InputError
from jaxnas.report.cells import draw_arch
from jaxnas.report.groups import compare_groups, flat_settings, shared_measure
from jaxnas.run.comparison import load_comparison
from jaxnas.run.find import COMPARISON, find_results
from jaxnas.run.load import load_run
from jaxnas.run.method_runs import MethodComparison
from jaxnas.run.run import Run
from jaxnas.runtime.files import atomic_write

EXPOSED = "window.vegaEmbed = vegaEmbed;"  # of the libraries of Vega, what the page calls


def read_results(folder: Path | str) -> Run | MethodComparison:
    """Read the finished search, or the finished comparison, whose folder this is.

    Raises:
      InputError: neither is there, or a file is damaged.
    """
    return load_comparison(folder) if find_results(folder).name == COMPARISON else load_run(folder)


def write_report(results: Run | MethodComparison | Sequence[Run | MethodComparison], path: Path | str) -> None:
    """Write the report of one search or comparison, or of several, as one HTML file, atomically.

    For each search it shows the selected architecture with its cell, every query, the weights, the agreement of the
    proxies with each other and with the measurements, and all settings that reproduce it. Several searches and
    comparisons are compared first, by curves with bands over seeds and a paired test.

    Args:
      results: results of `read_results`, `search_network` or `compare_methods`.
      path: the file to write.

    Raises:
      InputError: Altair is not installed (extra `report`), or `results` is empty.
    """
    if find_spec("altair") is None or find_spec("vl_convert") is None:
        raise InputError('a report needs Altair: pip install "jaxnas[report]"')
    listed = [results] if isinstance(results, Run | MethodComparison) else list(results)
    if not listed:
        raise InputError("nothing to report: name at least one run folder")
    with atomic_write(path) as partial:
        partial.write_text(render(listed), encoding="utf-8")


def render(results: Sequence[Run | MethodComparison]) -> str:
    """Return the page as text."""
    import vl_convert
    from jinja2 import Environment

    from jaxnas.report.charts import curves_chart, run_charts

    runs = [found for found in results if isinstance(found, Run)]
    groups, rows, verdicts = compare_groups(results)
    several = len(results) > 1 or len(groups) > 1
    curves = [curves_chart(groups, shared_measure(found.config.measured for found in results))] if several else []
    charts = [run_charts(run) for run in runs]
    sections = [_section(run, number, shown) for number, (run, shown) in enumerate(zip(runs, charts, strict=True))]
    pictures = [*curves, *chain.from_iterable(charts)]
    specs = {f"chart-{number}": shown.spec for number, shown in enumerate(pictures)}
    names = {id(shown): name for name, shown in zip(specs, pictures, strict=True)}
    folder = files("jaxnas.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["chart"] = lambda shown: names[id(shown)]
    return environment.from_string(folder.joinpath("page.html").read_text("utf-8")).render(
        title=_title(results),
        curves=curves,
        rows=rows if several else [],
        verdicts=verdicts,
        measure=shared_measure(found.config.reported or found.config.measured for found in results),
        sections=sections,
        comparisons=[_settings(found) for found in results if isinstance(found, MethodComparison)],
        style=folder.joinpath("page.css").read_text("utf-8"),
        script=folder.joinpath("page.js").read_text("utf-8"),
        bundle=vl_convert.javascript_bundle(snippet=EXPOSED).replace("</script", "<\\/script"),
        specs=json.dumps(specs).replace("<", "\\u003c"),
    )


def _section(run: Run, number: int, pictures: Sequence[object]) -> dict[str, object]:
    """Return what the page shows of one search."""
    from jaxnas.report.score_charts import combined_scores

    scores = combined_scores(run)
    queries = [arch for outcome in run.outcomes.values() for arch in outcome.result.queries]
    config, outcome = run.config, run.outcomes[run.config.search.method]
    return {
        "id": f"run-{number}",
        "title": f"{config.search.method} on {config.measured_on}, {config.problem.space}, seed {config.seed}",
        "selected": run.selected,
        "method": config.search.method,
        "measure": config.measured,
        "measured": run.measured(),
        "notes": run.notes,
        "facts": [
            ("queries", f"{len(outcome.result.queries)}, of which {outcome.result.num_bo} by Bayesian optimisation"),
            ("pool", f"{len(run.scores.archs):,} architectures, {len(run.scores.proxies)} proxies"),
            *_facts_of_images(run),
            *_tradeoff(run),
            *_other_methods(run),
            ("time", ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run.seconds.items())),
        ],
        "cells": draw_arch(run.space, run.scores.archs[outcome.result.selected]),
        "pictures": pictures,
        "rows": [
            {**row, "score": np.nan if scores is None else scores[arch]}
            for row, arch in zip(run.rows(), queries, strict=True)
        ],
        "chosen": {
            name: run.space.format(run.scores.archs[found.result.selected]) for name, found in run.outcomes.items()
        },
        "masked": _masked(run),
        "command": run.command,
        "settings": _settings(run),
    }


def _other_methods(run: Run) -> list[tuple[str, str]]:
    """Return what each further method of a search selected, and its measurements."""
    others = [method for method in run.outcomes if method != run.config.search.method]
    return [
        (
            f"by {method}",
            ", ".join(f"{name} {value}" for name, value in run.measured(method))
            + f": {run.space.format(run.scores.archs[run.outcomes[method].result.selected])}",
        )
        for method in others
    ]


def _facts_of_images(run: Run) -> list[tuple[str, str]]:
    """Return the classes by name, and how many images did what; nothing where there were none."""
    images = run.images
    if images is None:
        return []
    folds = run.config.training.folds
    numbers = {"training": images.num_training, "validation": images.num_validation, "test": images.num_test}
    if folds > 1:
        numbers = {f"in {folds} folds": images.num_validation, "test": images.num_test}
    height, width, channels = images.shape
    shown = [*images.class_names[:20], *(["..."] if len(images.class_names) > 20 else [])]
    return [
        ("images", f"{', '.join(f'{count:,} {name}' for name, count in numbers.items())}; {width}x{height}x{channels}"),
        ("classes", f"{len(images.class_names)}: {', '.join(shown)}"),
    ]


def _tradeoff(run: Run) -> list[tuple[str, str]]:
    """Return the size of the selected architecture and the front, where they are known."""
    facts = [("size", ", ".join(f"{name} {value:,.10g}" for name, value in run.size.items()))] if run.size else []
    if run.latency is not None:
        facts.append(("latency", f"ms, measured with one image on {run.latency['device']}"))
    if names := run.config.limits.objective[1:]:
        rows, volume = run.front()
        points = "; ".join(
            f"{run.config.measured.show(row['objective'])} at {', '.join(f'{row[n]:,.10g} {n}' for n in names)}"
            for row in rows
        )
        facts.append((f"front, hypervolume {volume:.3f}", points))
    return facts


def _masked(run: Run) -> list[str]:
    """Return what the search could not use of the scores, in words."""
    unusable = run.masked.num_nan + run.masked.num_posinf + run.masked.num_neginf
    names = run.scores.proxies
    notes = [f"{name}: {count} scores are NaN or inf" for name, count in zip(names, unusable, strict=True) if count]
    constant = zip(names, run.masked.usable, strict=True)
    return notes + [f"{name}: unused, it ranks nothing here" for name, usable in constant if not usable]


def _settings(found: Run | MethodComparison) -> list[tuple[str, str]]:
    """Return configuration, versions and device, flat."""
    scores = found.scores.provenance if isinstance(found, Run) else {}
    pairs = [
        *flat_settings(found).items(),
        *((f"scores {name}", value) for name, value in scores.items()),
        *found.environment.items(),
    ]
    return [(str(name).replace("_", " "), _shown(value)) for name, value in pairs]


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def _title(results: Sequence[Run | MethodComparison]) -> str:
    if len(results) == 1:
        (found,) = results
        return (
            f"{found.config.search.method} on {found.config.measured_on}"
            if isinstance(found, Run)
            else "Search methods compared"
        )
    searches = sum(isinstance(found, Run) for found in results)
    counts = {"search": searches, "comparison": len(results) - searches}
    plural = {"search": "searches", "comparison": "comparisons"}
    return " and ".join(f"{count} {plural[kind] if count > 1 else kind}" for kind, count in counts.items() if count)
