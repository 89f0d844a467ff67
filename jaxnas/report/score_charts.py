"""Charts of a search's scores: agreement of the proxies with each other and with the measurements."""

import altair as alt
import numpy as np
from jaxtyping import Float, Int

from jaxnas.proxies import orient
from jaxnas.report.picture import PALETTE, Picture, diverging_scale, inline, picture
from jaxnas.run.run import Run
from jaxnas.table.evaluation import spearman
from jaxnas.table.normalize import combine, normalize

NUM_BINS = 40
COMBINED = "combined, with the weights found"


def agreement_chart(run: Run) -> Picture:
    """Draw Spearman's correlation of all proxies over the pool, and with the accuracies of what was queried."""
    names, measure = list(run.scores.proxies), run.config.measured
    values = orient(run.scores.values, names)
    archs, accuracy = _observed(run)
    rows = [
        {"a": a, "b": b, "rho": _rank_correlation(values[:, i], values[:, j]), "over": "the pool"}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    measured = [_rank_correlation(values[archs, column], accuracy) for column in range(len(names))]
    about = {"a": measure.name, "over": f"{len(archs)} queried"}
    rows += [{**about, "b": name, "rho": rho} for name, rho in zip(names, measured, strict=True)]
    chart = (
        alt.Chart(inline(rows))
        .mark_rect()
        .encode(
            alt.X("b:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40)),
            alt.Y("a:N", sort=[*names, measure.name], title=None),
            alt.Color("rho:Q", scale=diverging_scale(), legend=alt.Legend(title="Spearman", gradientLength=160)),
            tooltip=["a:N", "b:N", alt.Tooltip("rho:Q", format="+.2f", title="Spearman"), "over:N"],
        )
    )
    listed = ", ".join(f"{name} {rho:+.2f}" for name, rho in zip(names, measured, strict=True) if np.isfinite(rho))
    text = f"Rank correlation of each proxy with the {measure.name} of {len(archs)} queried: {listed or 'none'}."
    wanted = "The search minimises, so that a good proxy has -1 there." if run.config.problem.minimize else ""
    caption = (
        f"Spearman's rank correlation over the pool; in the last row with the {measure.name} of the architectures "
        f"that were queried, which are not a random sample. Proxies count so that higher is better. {wanted}"
    ).rstrip()
    return picture("Proxies against each other", caption, text, chart, 26 * (len(names) + 1))


def _observed(run: Run) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
    """Return the rows of the pool that were trained in full or looked up, and their finite objective."""
    objectives: dict[int, float] = {}
    for outcome in run.outcomes.values():
        result = outcome.result
        full = (result.fidelity == result.fidelity.max()) & np.isfinite(result.objective)
        objectives |= dict(zip(result.queries[full].tolist(), result.objective[full].tolist(), strict=True))
    return np.array(list(objectives), int), np.array(list(objectives.values()), float)


def _rank_correlation(first: Float[np.ndarray, " A"], second: Float[np.ndarray, " A"]) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return np.nan
    return float(spearman(first[both], second[both]))


def scatter_chart(run: Run) -> Picture:
    """Draw the rank in the pool by a proxy, chosen on the page, against the accuracy of what was queried."""
    table, names = _table(run)
    measure = run.config.measured
    archs, objective = _observed(run)
    rank = (
        100
        * np.stack([np.searchsorted(np.sort(column), column) for column in table.T], axis=1)
        / max(1, len(table) - 1)
    )
    scores = np.column_stack([run.scores.values, table[:, run.scores.values.shape[1] :]])
    rows = [
        {
            "arch": run.space.format(run.scores.archs[arch]),
            "objective": value,
            "ranks": dict(zip(names, rank[arch], strict=True)),
            "scores": dict(zip(names, scores[arch], strict=True)),
        }
        for arch, value in zip(archs, objective, strict=True)
    ]
    choice = _choice("of_objective", names)
    chart = (
        alt.Chart(inline(rows))
        .add_params(choice)
        .transform_calculate(rank="datum.ranks[of_objective]", score="datum.scores[of_objective]")
        .mark_point(filled=True, size=70, color=PALETTE[0], opacity=0.85)
        .encode(
            alt.X("rank:Q", title="rank in the pool by this proxy, %", scale=alt.Scale(domain=[0, 100])),
            alt.Y("objective:Q", title=measure.title, scale=alt.Scale(zero=False)),
            tooltip=[
                alt.Tooltip("objective:Q", title=measure.title, format=measure.digits),
                alt.Tooltip("score:Q", title="score", format=".4g"),
                alt.Tooltip("arch:N", title="architecture"),
            ],
        )
    )
    text = f"{measure.title} of {len(archs)} queried architectures against their rank by {names[0]}."
    caption = "How well a proxy predicted what was measured: 100 % is the best of the pool by it."
    return picture(f"Proxies against {measure.name}", caption, text, chart)


def combined_scores(run: Run) -> Float[np.ndarray, " A"] | None:
    """Return the scores of the pool, combined with the weights of `config.search.method`; None where it has none."""
    table, names = _table(run)
    return table[:, -1] if names[-1] == COMBINED else None


def _table(run: Run) -> tuple[Float[np.ndarray, "A M"], list[str]]:
    """Return the score table as the search saw it, with the combination by the weights found as its last column."""
    table, _ = normalize(orient(run.scores.values, run.scores.proxies), run.config.search.normalization)
    weights = run.outcomes[run.config.search.method].result.weights
    names = list(run.scores.proxies)
    if not np.isfinite(weights).all():
        return table, names
    return np.column_stack([table, combine(table, weights)]), [*names, COMBINED]


def _choice(name: str, names: list[str]) -> alt.Parameter:
    """Return a list to choose a proxy from, the combined one first where there is one."""
    options = sorted(names, key=lambda option: option != COMBINED)
    return alt.param(name=name, value=options[0], bind=alt.binding_select(options=options, name="proxy "))


def distribution_chart(run: Run) -> Picture:
    """Draw the distribution of the normalised scores of the pool, with those of the queries marked."""
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
        alt.Chart(inline(bars))
        .transform_filter("datum.proxy === of_pool")
        .mark_bar(color="#8a8a8a", opacity=0.6)
        .encode(x, alt.X2("high:Q"), alt.Y("count:Q", title="architectures"), tooltip=["count:Q", "low:Q", "high:Q"])
    )
    queried = (
        alt.Chart(inline(marks))
        .transform_calculate(at="datum.scores[of_pool]")
        .mark_tick(color=PALETTE[1], thickness=2, height=18, yOffset=-10)
        .encode(alt.X("at:Q"), y=alt.value("height"), tooltip=[alt.Tooltip("arch:N", title="architecture"), "at:Q"])
    )
    text = f"Histogram of the scores of {len(table)} architectures, with the {len(archs)} that were queried marked."
    caption = "The pool in grey, what was queried in orange."
    return picture("Scores of the pool", caption, text, alt.layer(pool, queried).add_params(choice), 220)
