"""The pictures of a report as Vega-Lite specifications, made with Altair; each says in words what it shows.

Text, axes and grid have the colour of the page around them, so that one specification serves light and dark.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import altair as alt
import numpy as np
from jaxtyping import Float

from jaxnas.proxies import orient
from jaxnas.run.method_runs import MethodRuns
from jaxnas.run.run import Run
from jaxnas.table.evaluation import spearman
from jaxnas.table.normalize import combine, normalize

PALETTE = ("#3f78c9", "#d0762f", "#4c9f70", "#b5478f", "#8d5fc0", "#8a8a8a", "#b8a136", "#c94f4f", "#2f9bab", "#6b6bd6")
PHASE_NAMES = ("bo", "greedy", "evolution", "policy", "neighbour", "random", "promotion", "density")
PHASES = dict(zip(PHASE_NAMES, PALETTE, strict=False))
NUM_BINS = 40
COMBINED = "combined, with the weights found"


class Picture(NamedTuple):
    """A chart and what stands beside it."""

    title: str
    caption: str
    text: str  # what the chart shows, for who cannot see it
    spec: dict[str, Any]


def picture(title: str, caption: str, text: str, chart: Any, height: int = 300) -> Picture:
    """The chart as wide as the page, in the page's colours."""
    chart = chart.properties(width="container", height=height, description=text, background="transparent")
    chart = (
        chart.configure_view(stroke=None)
        .configure_axis(
            labelColor="currentColor",
            titleColor="currentColor",
            domainColor="currentColor",
            tickColor="currentColor",
            gridColor="#88888840",
            labelFontSize=12,
            titleFontSize=13,
            titleFontWeight="normal",
        )
        .configure_legend(labelColor="currentColor", titleColor="currentColor", orient="top", labelFontSize=12)
        .configure_text(color="currentColor")
    )
    spec = chart.to_dict()
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return Picture(title, caption, text, spec)


def _values(rows: list[dict[str, Any]]) -> Any:
    return alt.InlineData(values=[{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _colours(mapping: Mapping[str, str]) -> Any:
    return alt.Scale(domain=list(mapping), range=list(mapping.values()))


def progress_chart(run: Run, method: str) -> Picture:
    """Every query and the best found so far; a line where BO ends and the greedy phase begins."""
    result = run.outcomes[method].result
    rows = [row for row in run.rows() if row["method"] == method]
    best = result.best_by_spending()
    points = [{**row, "at": at} for row, at in zip(rows, result.spent.tolist(), strict=True)]
    steps = [{"at": at, "best": value} for at, value in enumerate(best.tolist(), start=1)]
    x = alt.X(
        "at:Q",
        title="queries",
        axis=alt.Axis(tickMinStep=1),
        scale=alt.Scale(domain=[0.5, result.budget + 0.5], nice=False),
    )
    low, num_below = _floor(result.objective)
    scale = alt.Scale(zero=False, domainMin=low, clamp=True) if num_below else alt.Scale(zero=False)
    y = alt.Y("objective:Q", title="validation accuracy %", scale=scale)
    phases = {name: PHASES[name] for name in dict.fromkeys(result.phase)}
    line = (
        alt.Chart(_values(steps))
        .mark_line(interpolate="step-after", color="currentColor", strokeWidth=1.5, opacity=0.7)
        .encode(x, alt.Y("best:Q", scale=scale))
    )
    dots = (
        alt.Chart(_values(points))
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(
            x,
            y,
            color=alt.Color("phase:N", title="phase", scale=_colours(phases)),
            shape=alt.Shape("phase:N", title="phase", scale=alt.Scale(domain=list(phases))),
            tooltip=[
                alt.Tooltip("query:Q"),
                alt.Tooltip("phase:N"),
                alt.Tooltip("objective:Q", title="validation accuracy %", format=".2f"),
                alt.Tooltip("seconds:Q", format=".1f"),
                alt.Tooltip("arch:N", title="architecture"),
            ],
        )
    )
    layers = [line, dots]
    ends = [at for at, phase in zip(result.spent.tolist(), result.phase, strict=True) if phase == "bo"]
    if ends and "greedy" in result.phase:
        rule = alt.Chart(_values([{"at": ends[-1] + 0.5, "label": "greedy alone"}]))
        layers.append(rule.mark_rule(strokeDash=[4, 4], color="currentColor", opacity=0.6).encode(x="at:Q"))
        label = rule.mark_text(align="left", dx=5, dy=-5, baseline="bottom").encode(
            x="at:Q", y=alt.value(0), text="label:N"
        )
        layers.append(label)
    finite = best[np.isfinite(best)]
    failed = f" {result.num_failed} candidates diverged." if result.num_failed else ""
    text = (
        f"Best validation accuracy found by {method} after each of {result.budget} queries: from {finite[0]:.2f} % to "
        f"{finite[-1]:.2f} %. {result.num_bo} queries are of Bayesian optimisation.{failed}"
    )
    caption = "Each point is an architecture that was paid for; the line is the best so far."
    if num_below:
        caption += f" On the lower edge: {num_below} that lie below it."
    return picture(f"Best found against queries: {method}", caption, text, alt.layer(*layers))


def _floor(objective: Float[np.ndarray, " T"]) -> tuple[float, int]:
    """Where the axis begins, so that a few failures leave room for the rest, and how many lie below."""
    finite = objective[np.isfinite(objective)]
    quarter = np.quantile(finite, 0.25)
    low = float(np.floor(quarter - 2 * (finite.max() - quarter)))
    return low, int((finite < low).sum())


def curves_chart(groups: dict[str, MethodRuns]) -> Picture:
    """The best found against queries: mean over seeds, with a band of one deviation."""
    rows, ends = [], []
    for name, runs in groups.items():
        mean, deviation = np.nanmean(runs.best, axis=0), np.nanstd(runs.best, axis=0)
        ends.append(f"{name} {mean[-1]:.2f} % over {len(runs.seeds)} seeds")
        rows += [
            {"method": name, "at": at, "mean": middle, "low": middle - spread, "high": middle + spread}
            for at, (middle, spread) in enumerate(zip(mean, deviation, strict=True), start=1)
        ]
    colours = _colours(dict(zip(groups, np.resize(PALETTE, len(groups)).tolist(), strict=True)))
    base = alt.Chart(_values(rows)).encode(
        alt.X("at:Q", title="queries", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False, nice=False)),
        color=alt.Color(
            "method:N",
            scale=colours,
            sort=list(groups),
            legend=alt.Legend(title=None, symbolType="square", symbolOpacity=1, columns=4, labelLimit=0),
        ),
    )
    scale = alt.Scale(zero=False)
    band = base.mark_area(opacity=0.15).encode(alt.Y("low:Q", scale=scale, title="best found, %"), alt.Y2("high:Q"))
    tooltip = ["method:N", alt.Tooltip("at:Q", title="queries"), alt.Tooltip("mean:Q", format=".2f")]
    line = base.mark_line(strokeWidth=2).encode(alt.Y("mean:Q", scale=scale))
    touch = base.mark_point(size=60, opacity=0).encode(alt.Y("mean:Q", scale=scale), tooltip=tooltip)
    text = f"Best found, mean over seeds, at the end: {'; '.join(ends)}."
    caption = "Mean over seeds; the band is one standard deviation to each side."
    return picture("Best found against queries", caption, text, alt.layer(band, line, touch))


def weights_chart(run: Run, method: str) -> Picture | None:
    """The weights with which each query of BO was found, and those found in the end; None where there are none."""
    result = run.outcomes[method].result
    if not np.isfinite(result.weights).all():
        return None
    asked = [(str(number), row) for number, row in enumerate(result.query_weights, start=1) if np.isfinite(row).all()]
    columns = [*asked, ("found", result.weights)]
    rows = [
        {"query": at, "proxy": proxy, "weight": weight}
        for at, weights in columns
        for proxy, weight in zip(run.scores.proxies, weights, strict=True)
    ]
    chart = (
        alt.Chart(_values(rows))
        .mark_rect(stroke="#88888830")
        .encode(
            alt.X("query:O", sort=[at for at, _ in columns], title="query", axis=alt.Axis(labelAngle=0)),
            alt.Y("proxy:N", sort=list(run.scores.proxies), title=None),
            alt.Color("weight:Q", scale=_diverging(), legend=alt.Legend(title="weight", gradientLength=160)),
            tooltip=["query:O", "proxy:N", alt.Tooltip("weight:Q", format="+.2f")],
        )
    )
    found = ", ".join(f"{name} {weight:+.2f}" for name, weight in zip(run.scores.proxies, result.weights, strict=True))
    text = f"Weights that {method} found: {found}."
    caption = (
        "A column for each query that Bayesian optimisation found, with the weights that led there; last, the best. "
        + found
    )
    return picture("Weights of the proxies", caption, text, chart, 26 * len(run.scores.proxies))


def surrogate_chart(run: Run, method: str) -> Picture | None:
    """Draw what the surrogate showed at each query that it chose; None for a search without a surrogate."""
    result = run.outcomes[method].result
    info, chosen = result.info, np.flatnonzero(np.isfinite(result.info.log_evidence))
    if not len(chosen):
        return None
    is_shared = bool((info.lengthscale[chosen] == info.lengthscale[chosen, :1]).all())
    names = ["all proxies"] if is_shared else list(run.scores.proxies)
    rows = [
        {
            **{"query": at + 1, "proxy": name, "length scale": info.lengthscale[at, column]},
            **{"acquisition": info.acquisition[at], "log evidence": info.log_evidence[at]},
            **{"predicted": info.mean[at], "deviation": info.std[at], "objective": result.objective[at]},
        }
        for at in chosen.tolist()
        for column, name in enumerate(names)
    ]
    shown = [alt.Tooltip("query:Q"), *(alt.Tooltip(f"{name}:Q", format=".4g") for name in list(rows[0])[2:])]
    base = alt.Chart(_values(rows)).encode(alt.X("query:Q", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False)))
    colours = _colours(dict(zip(names, np.resize(PALETTE, len(names)).tolist(), strict=True)))
    lines = base.mark_line(point=True).encode(
        alt.Y("length scale:Q", scale=alt.Scale(type="log"), title="length scale"),
        alt.Color("proxy:N", scale=colours, sort=names, legend=alt.Legend(title="length scale of")),
        tooltip=["proxy:N", *shown],
    )
    once = base.transform_filter(alt.datum.proxy == names[0])  # rows of other proxies repeat the value
    points = once.mark_point(shape="diamond", color="currentColor", size=50).encode(
        alt.Y("acquisition:Q", scale=alt.Scale(zero=False), title="acquisition value (diamonds)"), tooltip=shown
    )
    last = chosen[-1]
    text = (
        f"What the surrogate of {method} showed at {len(chosen)} queries. At the last: length scale "
        f"{', '.join(f'{value:.3g}' for value in info.lengthscale[last][: len(names)])}, acquisition value "
        f"{info.acquisition[last]:.4g}, log evidence {info.log_evidence[last]:.1f} nats."
    )
    caption = (
        "The length scale (log axis, left) is how far weights must move for the objective to change; the acquisition "
        "value (right) is what the choice promised. A point also shows the predicted and the observed objective."
    )
    both = alt.layer(lines, points).resolve_scale(y="independent")
    return picture(f"Surrogate of the search: {method}", caption, text, both, 220)


def _diverging():
    return alt.Scale(domain=[-1, 0, 1], range=["#c94f4f", "#e8e8e8", "#3f78c9"])


def agreement_chart(run: Run) -> Picture:
    """Spearman's rank correlation of all proxies over the pool, and with the accuracy of those that were queried."""
    names = list(run.scores.proxies)
    values = orient(run.scores.values, names)
    archs, accuracy = _observed(run)
    rows = [
        {"a": a, "b": b, "rho": _rank_correlation(values[:, i], values[:, j]), "over": "the pool"}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    measured = [_rank_correlation(values[archs, column], accuracy) for column in range(len(names))]
    about = {"a": "validation accuracy", "over": f"{len(archs)} queried"}
    rows += [{**about, "b": name, "rho": rho} for name, rho in zip(names, measured, strict=True)]
    chart = (
        alt.Chart(_values(rows))
        .mark_rect()
        .encode(
            alt.X("b:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40)),
            alt.Y("a:N", sort=[*names, "validation accuracy"], title=None),
            alt.Color("rho:Q", scale=_diverging(), legend=alt.Legend(title="Spearman", gradientLength=160)),
            tooltip=["a:N", "b:N", alt.Tooltip("rho:Q", format="+.2f", title="Spearman"), "over:N"],
        )
    )
    told = ", ".join(f"{name} {rho:+.2f}" for name, rho in zip(names, measured, strict=True) if np.isfinite(rho))
    text = f"Rank correlation of each proxy with the validation accuracy of {len(archs)} queried: {told or 'none'}."
    caption = (
        "Spearman's rank correlation over the pool; in the last row with the validation accuracy of the architectures "
        "that were queried, which are no random sample. Proxies count so that higher is better."
    )
    return picture("Proxies against each other", caption, text, chart, 26 * (len(names) + 1))


def _observed(run: Run) -> tuple[Any, Float[np.ndarray, " Q"]]:
    """Rows of the pool that were trained in full or looked up, and their finite objective."""
    found: dict[int, float] = {}
    for outcome in run.outcomes.values():
        result = outcome.result
        full = (result.fidelity == result.fidelity.max()) & np.isfinite(result.objective)
        found |= dict(zip(result.queries[full].tolist(), result.objective[full].tolist(), strict=True))
    return np.array(list(found), int), np.array(list(found.values()))


def _rank_correlation(first, second) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return np.nan
    return float(spearman(first[both], second[both]))


def scatter_chart(run: Run) -> Picture:
    """Rank in the pool by a proxy against the accuracy of what was queried; the proxy is chosen below."""
    table, names = _table(run)
    archs, accuracy = _observed(run)
    rank = (
        100
        * np.stack([np.searchsorted(np.sort(column), column) for column in table.T], axis=1)
        / max(1, len(table) - 1)
    )
    scores = np.column_stack([run.scores.values, table[:, run.scores.values.shape[1] :]])
    rows = [
        {
            "arch": run.space.format(run.scores.archs[arch]),
            "accuracy": value,
            "ranks": dict(zip(names, rank[arch], strict=True)),
            "scores": dict(zip(names, scores[arch], strict=True)),
        }
        for arch, value in zip(archs, accuracy, strict=True)
    ]
    choice = _choice("of_accuracy", names)
    chart = (
        alt.Chart(_values(rows))
        .add_params(choice)
        .transform_calculate(rank="datum.ranks[of_accuracy]", score="datum.scores[of_accuracy]")
        .mark_point(filled=True, size=70, color=PALETTE[0], opacity=0.85)
        .encode(
            alt.X("rank:Q", title="rank in the pool by this proxy, %", scale=alt.Scale(domain=[0, 100])),
            alt.Y("accuracy:Q", title="validation accuracy %", scale=alt.Scale(zero=False)),
            tooltip=[
                alt.Tooltip("accuracy:Q", title="validation accuracy %", format=".2f"),
                alt.Tooltip("score:Q", title="score", format=".4g"),
                alt.Tooltip("arch:N", title="architecture"),
            ],
        )
    )
    text = f"Validation accuracy of {len(archs)} queried architectures against their rank by {names[0]}."
    caption = "How well a proxy foretold what was measured: 100 % is the best of the pool by it."
    return picture("Proxies against validation accuracy", caption, text, chart)


def combined_scores(run: Run) -> Float[np.ndarray, " A"] | None:
    """Of each architecture of the pool, with the weights that config.search.method found; None where it found none."""
    table, names = _table(run)
    return table[:, -1] if names[-1] == COMBINED else None


def _table(run: Run) -> tuple[Float[np.ndarray, "A M"], list[str]]:
    """The score table as the search saw it, and last the combination with the weights found, where there are some."""
    table, _ = normalize(orient(run.scores.values, run.scores.proxies), run.config.search.normalization)
    weights = run.outcomes[run.config.search.method].result.weights
    names = list(run.scores.proxies)
    if not np.isfinite(weights).all():
        return table, names
    return np.column_stack([table, combine(table, weights)]), [*names, COMBINED]


def _choice(name: str, names: list[str]):
    """A list to choose a proxy from, the combined one first where there is one."""
    options = sorted(names, key=lambda option: option != COMBINED)
    return alt.param(name=name, value=options[0], bind=alt.binding_select(options=options, name="proxy "))


def distribution_chart(run: Run) -> Picture:
    """How the normalised scores of the pool are spread, and where those that were queried lie."""
    table, names = _table(run)
    archs, _ = _observed(run)
    bars = []
    for column, name in enumerate(names):
        counts, bounds = np.histogram(table[:, column], bins=NUM_BINS)
        bars += [
            {"proxy": name, "low": low, "high": high, "count": count}
            for low, high, count in zip(bounds[:-1], bounds[1:], counts, strict=True)
        ]
    marks = [
        {"arch": run.space.format(run.scores.archs[arch]), "scores": dict(zip(names, table[arch], strict=True))}
        for arch in archs
    ]
    choice = _choice("of_pool", names)
    x = alt.X(
        "low:Q",
        bin="binned",
        title="normalised score",
        axis=alt.Axis(tickCount=8),
        scale=alt.Scale(zero=False, nice=False),
    )
    pool = (
        alt.Chart(_values(bars))
        .transform_filter("datum.proxy === of_pool")
        .mark_bar(color="#8a8a8a", opacity=0.6)
        .encode(x, alt.X2("high:Q"), alt.Y("count:Q", title="architectures"), tooltip=["count:Q", "low:Q", "high:Q"])
    )
    queried = (
        alt.Chart(_values(marks))
        .transform_calculate(at="datum.scores[of_pool]")
        .mark_tick(color=PALETTE[1], thickness=2, height=18, yOffset=-10)
        .encode(alt.X("at:Q"), y=alt.value("height"), tooltip=[alt.Tooltip("arch:N", title="architecture"), "at:Q"])
    )
    text = f"Histogram of the scores of {len(table)} architectures, with the {len(archs)} that were queried marked."
    caption = "The pool in grey, what was queried in orange."
    return picture("Scores of the pool", caption, text, alt.layer(pool, queried).add_params(choice), 220)


def run_charts(run: Run) -> list[Picture]:
    """All pictures of a run, in the order in which they are read."""
    of_methods = [
        chart(run, method) for method in run.outcomes for chart in (progress_chart, weights_chart, surrogate_chart)
    ]
    return [
        found for found in (*of_methods, agreement_chart(run), scatter_chart(run), distribution_chart(run)) if found
    ]
