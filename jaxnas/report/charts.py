"""Charts of a search and of compared methods; those of its scores are in `score_charts`."""

import altair as alt
import numpy as np
from jaxtyping import Float

from jaxnas.report.picture import PALETTE, Picture, colour_scale, diverging_scale, inline, picture
from jaxnas.report.score_charts import agreement_chart, distribution_chart, scatter_chart
from jaxnas.run.learned import describe_surrogate
from jaxnas.run.method_runs import MethodRuns, mean_curve
from jaxnas.run.run import Run
from jaxnas.runtime.measures import Measure

PHASE_NAMES = (
    "bo",
    "greedy",
    "evolution",
    "policy",
    "neighbour",
    "random",
    "promotion",
    "density",
    "tree",
    "prediction",
)
PHASES = dict(zip(PHASE_NAMES, PALETTE, strict=False))


def progress_chart(run: Run, method: str) -> Picture:
    """Draw every query and the best so far, with a line where BO ends and the greedy phase begins."""
    result, measure = run.outcomes[method].result, run.config.measured
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
    maximizes = result.direction == "maximize"
    bound, num_outside = _bound(result.objective, maximizes)
    if not num_outside:
        scale = alt.Scale(zero=False)
    elif maximizes:
        scale = alt.Scale(zero=False, clamp=True, domainMin=bound)
    else:
        scale = alt.Scale(zero=False, clamp=True, domainMax=bound)
    y = alt.Y("objective:Q", title=measure.title, scale=scale)
    phases = {name: PHASES[name] for name in dict.fromkeys(result.phase)}
    line = (
        alt.Chart(inline(steps))
        .mark_line(interpolate="step-after", color="currentColor", strokeWidth=1.5, opacity=0.7)
        .encode(x, alt.Y("best:Q", scale=scale))
    )
    dots = (
        alt.Chart(inline(points))
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(
            x,
            y,
            color=alt.Color("phase:N", title="phase", scale=colour_scale(phases)),
            shape=alt.Shape("phase:N", title="phase", scale=alt.Scale(domain=list(phases))),
            tooltip=[
                alt.Tooltip("query:Q"),
                alt.Tooltip("phase:N"),
                alt.Tooltip("objective:Q", title=measure.title, format=measure.digits),
                alt.Tooltip("seconds:Q", format=".1f"),
                alt.Tooltip("arch:N", title="architecture"),
            ],
        )
    )
    layers = [line, dots]
    last = max((number for number, phase in enumerate(result.phase) if phase == "bo"), default=-1)
    if last >= 0 and "greedy" in result.phase[last:]:
        rule = alt.Chart(inline([{"at": int(result.spent[last]) + 0.5, "label": "greedy alone"}]))
        layers.append(rule.mark_rule(strokeDash=[4, 4], color="currentColor", opacity=0.6).encode(x="at:Q"))
        label = rule.mark_text(align="left", dx=5, dy=-5, baseline="bottom").encode(
            x="at:Q", y=alt.value(0), text="label:N"
        )
        layers.append(label)
    finite = best[np.isfinite(best)]
    failed = f" {result.num_failed} candidates {measure.failed}." if result.num_failed else ""
    first_and_last = " to ".join(map(measure.show, (finite[0], finite[-1])))
    text = (
        f"Best {measure.name} found by {method} after each of {result.budget} queries: from {first_and_last}. "
        f"{result.num_bo} queries are of Bayesian optimisation.{failed}"
    )
    caption = "Each point is an architecture that was queried; the line is the best so far."
    if num_outside:
        side = "Below the axis, drawn on its lower" if maximizes else "Above the axis, drawn on its upper"
        caption += f" {side} edge: {num_outside}."
    return picture(f"Best found against queries: {method}", caption, text, alt.layer(*layers))


def _bound(objective: Float[np.ndarray, " T"], maximizes: bool) -> tuple[float, int]:
    """Return the end of the axis on the bad side, which leaves out few failures, and the number of values beyond."""
    sign = 1 if maximizes else -1
    finite = sign * objective[np.isfinite(objective)]
    quarter = np.quantile(finite, 0.25)
    low = float(np.floor(quarter - 2 * (finite.max() - quarter)))
    return sign * low, int((finite < low).sum())


def curves_chart(groups: dict[str, MethodRuns], measure: Measure) -> Picture:
    """Draw the best found against queries: mean over seeds, with a band of one deviation."""
    rows, ends = [], []
    for name, runs in groups.items():
        mean, deviation = mean_curve(runs.best)
        ends.append(f"{name} {measure.show(mean[-1])} over {len(runs.seeds)} seeds")
        rows += [
            {"method": name, "at": at, "mean": middle, "low": middle - spread, "high": middle + spread}
            for at, (middle, spread) in enumerate(zip(mean, deviation, strict=True), start=1)
        ]
    colours = colour_scale(dict(zip(groups, np.resize(PALETTE, len(groups)).tolist(), strict=True)))
    base = alt.Chart(inline(rows)).encode(
        alt.X("at:Q", title="queries", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False, nice=False)),
        color=alt.Color(
            "method:N",
            scale=colours,
            sort=list(groups),
            legend=alt.Legend(title=None, symbolType="square", symbolOpacity=1, columns=4, labelLimit=0),
        ),
    )
    scale = alt.Scale(zero=False)
    band = base.mark_area(opacity=0.15).encode(
        alt.Y("low:Q", scale=scale, title=f"best {measure.title}"), alt.Y2("high:Q")
    )
    tooltip = ["method:N", alt.Tooltip("at:Q", title="queries"), alt.Tooltip("mean:Q", format=measure.digits)]
    line = base.mark_line(strokeWidth=2).encode(alt.Y("mean:Q", scale=scale))
    touch = base.mark_point(size=60, opacity=0).encode(alt.Y("mean:Q", scale=scale), tooltip=tooltip)
    text = f"Best found, mean over seeds, at the end: {'; '.join(ends)}."
    caption = "Mean over seeds; the band is one standard deviation to each side."
    return picture("Best found against queries", caption, text, alt.layer(band, line, touch))


def weights_chart(run: Run, method: str) -> Picture | None:
    """Draw the weights that led to each query of BO, and the best ones; None for a method without weights."""
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
        alt.Chart(inline(rows))
        .mark_rect(stroke="#88888830")
        .encode(
            alt.X("query:O", sort=[at for at, _ in columns], title="query", axis=alt.Axis(labelAngle=0)),
            alt.Y("proxy:N", sort=list(run.scores.proxies), title=None),
            alt.Color("weight:Q", scale=diverging_scale(), legend=alt.Legend(title="weight", gradientLength=160)),
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
    """Draw the state of the surrogate at each query that it chose; None for a search without a surrogate."""
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
    base = alt.Chart(inline(rows)).encode(alt.X("query:Q", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False)))
    colours = colour_scale(dict(zip(names, np.resize(PALETTE, len(names)).tolist(), strict=True)))
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
    learned = describe_surrogate(result, run.scores.proxies, run.config.measured)
    caption = (
        "The length scale (log axis, left) is the distance over which the objective changes; the acquisition "
        "value (right) is what the choice promised. A point also shows the predicted and the observed objective."
        + "".join(f" {line[0].upper()}{line[1:]}." for line in learned)
    )
    both = alt.layer(lines, points).resolve_scale(y="independent")
    return picture(f"Surrogate of the search: {method}", caption, text, both, 220)


def run_charts(run: Run) -> list[Picture]:
    """Draw all pictures of a run, in the order in which they are read."""
    method_charts = [
        chart(run, method) for method in run.outcomes for chart in (progress_chart, weights_chart, surrogate_chart)
    ]
    return [
        found for found in (*method_charts, agreement_chart(run), scatter_chart(run), distribution_chart(run)) if found
    ]
