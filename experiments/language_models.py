"""Measure what proxies and a few labels add to counts of parameters, on public tables of trained language models.

    JAXNAS_DATA=folder python experiments/language_models.py [--seeds 30]

The tables are lts/lts.json (GPT-2 and Transformer-XL of LiteTransformerSearch, perplexities on WikiText-103 and LM1B;
its objective here is minus the logarithm of the validation perplexity) and nb_bert/ (NAS-Bench-BERT: 500 FlexiBERT
networks, mean GLUE score, 14 published proxies). Nothing is scored or trained. The published scores and parameters of
NAS-Bench- BERT are those of networks of hidden size 256, also where 128 was trained: its notebook does not pass the
size on. The pool of four layers of 256 has the networks whose scores are their own. Three questions:

1. How do counts and proxies rank the networks: all, the best tenth, those of four layers? And what remains of the
   correlation at equal counts: the correlation of the residuals of ranks, after a fit of both by the ranks of one
   count?
2. How well does `jaxnas.predict_ranking` rank those that were not observed after 20 labels drawn at random?
3. Which network does a search with 5 queries (GPT-2, Transformer-XL, where counts leave little to find) or 20 (BERT)
   find? Regret as a share of that of random search: 0 is the optimum.

Decisions are vectors: of BERT the hidden size, the number of layers and of each layer its op, heads and two sizes of
its feed-forward network; of GPT-2 and Transformer-XL layers, three widths, and of each layer its heads and which eighth
of all layers its feed-forward width belongs to.

It takes 40 minutes on a busy machine. A stopped run resumes. It writes results/language_models.json and .md.

Source: Javaheripi et al. 2022 (arXiv:2203.02094); Serianni and Kalita 2023 (arXiv:2306.04859).
"""

import csv
import json
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
import tasks
import typer
from jaxtyping import Float, Int8
from rows import compute_rows
from scipy.stats import rankdata

import jaxnas
from jaxnas.table.evaluation import bootstrap_interval, spearman

FAMILIES = {
    "GPT-2, WikiText-103": "random_GPT2_wt103",
    "GPT-2, LM1B": "random_GPT2_lm1b",
    "Transformer-XL, WikiText-103": "random_TransXL_wt103",
    "Transformer-XL, LM1B": "random_TransXL_lm1b",
}
BERT, FOUR, WIDE = "BERT", "BERT, four layers", "BERT, four layers of 256"
POOLS = (*FAMILIES, BERT, FOUR, WIDE)
LABELS = 20
BUDGETS = {**dict.fromkeys(FAMILIES, 5), BERT: 20, FOUR: 20, WIDE: 20}
DECODER, PARAMS, LAYERS = "decoder params", "params", "layers"
METHODS = (("random", "one count"), ("largest", "one count"), ("robot", "counts"), ("robot", "proxies"))
METHODS += (("proxy_gp", "decisions"), ("proxy_gp", "counts"), ("proxy_gp", "counts, decisions"))
METHODS += (("proxy_gp", "proxies, decisions"), ("proxy_gp", "proxies and counts, decisions"))


class Pool(NamedTuple):
    """Trained networks.

    Attributes:
        archs: The number of the option of each decision [A D].
        counts: Counts by name, that which ranks best alone first.
        proxies: Published scores by name; none for GPT-2 and Transformer-XL.
        objective: Larger is better [A].
    """

    archs: Int8[np.ndarray, "A D"]
    counts: dict[str, Float[np.ndarray, " A"]]
    proxies: dict[str, Float[np.ndarray, " A"]]
    objective: Float[np.ndarray, " A"]


@lru_cache
def load(name: str) -> Pool:
    """Load one of the pools."""
    if name in FAMILIES:
        return load_decoders(FAMILIES[name])
    pool = load_bert()
    if name == BERT:
        return pool
    four = pool.counts[LAYERS] == 4
    return keep(pool, four & (pool.counts["hidden size"] == 256) if name == WIDE else four)


def keep(pool: Pool, rows: np.ndarray) -> Pool:
    """Return some networks of a pool, without the counts and proxies that are equal for them."""

    def of(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: column[rows] for name, column in columns.items() if np.ptp(column[rows]) > 0}

    return Pool(pool.archs[rows], of(pool.counts), of(pool.proxies), pool.objective[rows])


def load_decoders(name: str) -> Pool:
    """Load GPT-2 or Transformer-XL configurations that were trained to the end."""
    found = json.loads((jaxnas.data_folder() / "lts" / "lts.json").read_text())[name]
    nets = [net for net in found if net["ppl"] is not None]
    of = {name: np.array([net["params"][key] for net in nets], float) for name, key in SIZES.items()}
    shape = {name: np.array([np.mean(net[key]) for net in nets]) for name, key in SHAPES.items()}
    options = [np.unique(shape[name], return_inverse=True)[1] for name in ("layers", "d_model", "d_embed", "div_val")]
    most = int(shape[LAYERS].max())
    of_layers = [[np.resize(net[key], net["n_layer"]) for net in nets] for key in ("n_head", "d_inner")]
    ends = [np.unique(np.concatenate(of_layers[0]))[1:], np.quantile(np.concatenate(of_layers[1]), np.arange(1, 8) / 8)]
    for by_net, bounds in zip(of_layers, ends, strict=True):
        binned = [np.searchsorted(bounds, values, side="right") + 1 for values in by_net]
        options += list(np.stack([np.pad(values, (0, most - len(values))) for values in binned], axis=1))
    objective = -np.log([net["ppl"]["valid_ppl"] for net in nets])
    return Pool(np.stack(options, axis=1).astype(np.int8), {**of, **shape}, {}, objective)


SIZES = {DECODER: "nonembedding", PARAMS: "total", "attention params": "Attn", "FFN params": "FFN"}
SIZES |= {"embedding params": "AdaEmb"}
SHAPES = {LAYERS: "n_layer", "d_model": "d_model", "d_embed": "d_embed", "div_val": "div_val", "heads": "n_head"}
SHAPES |= {"FFN width": "d_inner"}


def load_bert() -> Pool:
    """Load NAS-Bench-BERT; scores and networks are joined by their id."""
    folder = jaxnas.data_folder() / "nb_bert"
    with open(folder / "BERT_results_activation.csv") as file:
        scores = {int(row["ID"]): row for row in csv.DictReader(file)}
    nets = [net for net in json.loads((folder / "BERT_benchmark.json").read_text()) if net["id"] in scores]
    chosen = [net["hparams"]["model_hparam_overrides"] for net in nets]
    layers = [net["nas_config"]["encoder_layers"] for net in chosen]
    ops = sorted({(layer["operation_type"], str(layer["operation_parameter"])) for of in layers for layer in of})
    fields = ("num_operation_heads", "feed_forward_dimension", "num_feed_forward")
    options = [sorted({layer[field] for of in layers for layer in of}) for field in fields]
    archs = []
    for net, of in zip(chosen, layers, strict=True):
        arch = [int(net["hidden_size"] == 256), int(len(of) == 4)]
        for number in range(4):
            if number >= len(of):
                arch += [len(ops), *(len(known) for known in options)]
                continue
            layer = of[number]
            arch.append(ops.index((layer["operation_type"], str(layer["operation_parameter"]))))
            arch += [known.index(layer[field]) for field, known in zip(fields, options, strict=True)]
        archs.append(arch)
    columns = {name: np.array([float(scores[net["id"]][name]) for net in nets]) for name in list(scores[0])[2:]}
    counts = {LAYERS: np.array([len(of) for of in layers], float), PARAMS: columns.pop("Number of Parameters")}
    counts["hidden size"] = np.array([net["hidden_size"] for net in chosen], float)
    counts["feed-forward layers"] = np.array([sum(layer["num_feed_forward"] for layer in of) for of in layers], float)
    return merge(Pool(np.array(archs, np.int8), counts, columns, np.array([net["scores"]["glue"] for net in nets])))


def merge(pool: Pool) -> Pool:
    """Return a pool in which each architecture is once, with the means of its rows."""
    archs, place = np.unique(pool.archs, axis=0, return_inverse=True)
    number = np.bincount(place)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, values) / number

    counts, proxies = ({name: mean(column) for name, column in of.items()} for of in (pool.counts, pool.proxies))
    return Pool(archs, counts, proxies, mean(pool.objective))


def correlate(pool: str) -> dict:
    """Correlate counts and proxies with the objective."""
    found = load(pool)
    best = found.objective >= np.quantile(found.objective, 0.9)
    given = next(iter(found.counts.values()))
    rows = {}
    for name, column in (found.counts | found.proxies).items():
        rows[name] = {
            "spearman": float(spearman(column, found.objective)),
            "best tenth": float(spearman(column[best], found.objective[best])),
            "at equal counts": partial(column, found.objective, given),
            "best tenth, at equal counts": partial(column[best], found.objective[best], given[best]),
        }
    return {"networks": len(found.objective), "in the best tenth": int(best.sum()), "rows": rows}


def partial(scores: np.ndarray, objective: np.ndarray, given: np.ndarray) -> float:
    """Return the correlation of the residuals of ranks after linear fits by the ranks of a count; NaN for itself."""
    a, b, by = (rankdata(values) - (len(values) + 1) / 2 for values in (scores, objective, given))
    left, right = (ranks - by * (ranks @ by) / max(by @ by, 1e-12) for ranks in (a, b))
    norm = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / norm) if norm > 1e-6 * np.sqrt((a @ a) * (b @ b)) else float("nan")


def columns_of(pool: Pool, by: str) -> np.ndarray:
    """Return the scores [A M] that a set names; none for the decisions alone."""
    first = dict(list(pool.counts.items())[:1])
    sets = {"one count": first, "counts": pool.counts, "proxies": pool.proxies}
    sets["proxies and counts"] = pool.proxies | pool.counts
    chosen = sets.get(by.removesuffix(", decisions"), {})
    return np.stack(list(chosen.values()), axis=1) if chosen else np.empty((len(pool.objective), 0))


def rank(pool: str, by: str, seeds: int) -> dict:
    """Rank the networks that were not observed after 20 labels of each draw."""
    found = load(pool)
    scores = columns_of(found, by)
    archs = found.archs if by.endswith("decisions") else None
    all_rows: list[float] = []
    best_rows: list[float] = []
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).permutation(len(found.objective))
        seen, others = drawn[:LABELS], drawn[LABELS:]
        ranking = jaxnas.predict_ranking(scores if scores.size else None, archs, (seen, found.objective[seen]))
        objective = found.objective[others]
        best = objective >= np.quantile(objective, 0.9)
        all_rows.append(float(spearman(ranking.mean[others], objective)))
        best_rows.append(float(spearman(ranking.mean[others][best], objective[best])))
    return {"spearman": all_rows, "best tenth": best_rows}


def search(pool: str, method: str, by: str, budget: int, seeds: int) -> dict:
    """Search the pool with every seed."""
    found = load(pool)
    objective = found.objective
    archs = found.archs if by.endswith("decisions") else None
    scores = columns_of(found, by)
    task = tasks.Task(archs, (), scores, objective, objective, np.full(len(objective), np.nan))
    expected = tasks.expected_regret(task, budget)
    if method == "random":
        regrets = [expected]
    elif method == "largest":
        regrets = [float(objective.max() - objective[np.argsort(-scores[:, 0], kind="stable")[:budget]].max())]
    else:
        results = tasks.search(task, method, budget, [0, seeds - 1])
        regrets = [float(objective.max() - objective[result.selected]) for result in results]
    return {"regret": regrets, "share": float(np.mean(regrets) / expected)}


def compute(part: str, **settings: object) -> dict:
    """Compute one row."""
    return {"correlations": correlate, "few labels": rank, "search": search}[part](**settings)  # type: ignore[operator]


def to_markdown(rows: list[dict]) -> str:
    """Return a table for each question and pool."""
    by_part: dict[str, list[dict]] = {}
    for row in rows:
        by_part.setdefault(row["settings"]["part"], []).append(row)
    parts = {"correlations": show_correlations, "few labels": show_rankings, "search": show_searches}
    return "\n".join(line for part, found in by_part.items() for line in [*parts[part](found), ""])


def show_correlations(rows: list[dict]) -> list[str]:
    """Return the correlations of each pool."""
    lines = ["Spearman's correlation with the objective, and at equal counts (see the script):", ""]
    for row in rows:
        pool, names = row["settings"]["pool"], list(row["rows"])
        lines += [
            f"| {pool}: {row['networks']} | all | best tenth ({row['in the best tenth']}) | at equal {names[0]} | best "
            f"tenth, at equal {names[0]} |",
            "|---|---|---|---|---|",
        ]
        for name, of in row["rows"].items():
            lines.append(f"| {name} | {' | '.join(_number(value) for value in of.values())} |")
        lines.append("")
    return lines[:-1]


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def show_rankings(rows: list[dict]) -> list[str]:
    """Return the correlations of rankings after 20 labels."""
    lines = [
        f"Spearman's correlation of `predict_ranking` after {LABELS} labels with the objective of the other networks, "
        "all / the best tenth of them; mean over draws, with its interval (95 %) for all:",
        "",
    ]
    pools = dict.fromkeys(row["settings"]["pool"] for row in rows)
    found = {(row["settings"]["pool"], row["settings"]["by"]): row for row in rows}
    lines += [f"| ranked by | {' | '.join(pools)} |", "|---" * (1 + len(pools)) + "|"]
    for by in dict.fromkeys(row["settings"]["by"] for row in rows):
        lines.append(f"| {by} | {' | '.join(_ranking(found.get((pool, by))) for pool in pools)} |")
    return lines


def _ranking(row: dict | None) -> str:
    if row is None:
        return "-"
    low, high = bootstrap_interval(row["spearman"])
    best = np.mean(row["best tenth"])  # NaN where a count is equal for all
    return f"{np.mean(row['spearman']):.3f} ({low:.3f} to {high:.3f}) / {'-' if np.isnan(best) else f'{best:.2f}'}"


def show_searches(rows: list[dict]) -> list[str]:
    """Return the shares of the regret of random search."""
    pools = {row["settings"]["pool"]: row["settings"]["budget"] for row in rows}
    found = {tuple(row["settings"][name] for name in ("pool", "method", "by")): row for row in rows}
    lines = ["Regret as a share of that of random search with the same number of queries, T:", ""]
    lines.append(f"| method | by | {' | '.join(f'{pool}, T = {budget}' for pool, budget in pools.items())} |")
    lines.append("|---" * (2 + len(pools)) + "|")
    for method, by in METHODS:
        cells = [found.get((pool, method, by)) for pool in pools]
        shown = " | ".join("-" if row is None else f"{row['share']:.2f}" for row in cells)
        lines.append(f"| {method} | {by if method != 'random' else '-'} | {shown} |")
    return lines


def plan(seeds: int) -> list[dict]:
    """Return the settings of all rows; sets of proxies that a pool does not have are left out."""

    def possible(pool: str, by: str) -> bool:
        return "proxies" not in by or pool not in FAMILIES

    rankings = ("one count", "counts", "counts, decisions", "proxies", "proxies, decisions", "decisions")
    rankings += ("proxies and counts, decisions",)
    todo: list[dict] = [{"part": "correlations", "pool": pool} for pool in POOLS]
    draws = 50
    todo += [
        {"part": "few labels", "pool": pool, "by": by, "seeds": draws}
        for pool in POOLS
        for by in rankings
        if possible(pool, by)
    ]
    return todo + [
        {"part": "search", "pool": pool, "method": method, "by": by, "budget": budget, "seeds": seeds}
        for pool, budget in BUDGETS.items()
        for method, by in METHODS
        if possible(pool, by)
    ]


def main(seeds: Annotated[int, typer.Option(help="Seeds of each search.", min=1)] = 30) -> None:
    """Compare counts, proxies and a few labels on language models."""
    compute_rows("language_models", plan(seeds), compute, to_markdown)


if __name__ == "__main__":
    typer.run(main)
