"""The tables of `accelerator.py`."""

import bare  # noqa: F401  # before jaxnas
import numpy as np

BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12}  # bytes a second, of the data sheets
TF32 = "tensorfloat32"


def to_markdown(rows: list[dict]) -> str:
    """Return speed, agreement with the CPU, kernels and training, of every device."""
    lines: list[str] = []
    for device in dict.fromkeys(row["settings"]["device"] for row in rows):
        of_device = [row for row in rows if row["settings"]["device"] == device]
        for table in (show_speed, show_kernels, show_training, show_agreement):
            if shown := table(of_device):
                lines += [*shown, ""]
    return "\n".join(lines)


def show_speed(rows: list[dict]) -> list[str]:
    """Return a row for each scoring, with the ratio to PyTorch of the same precision."""
    torch = {(row["settings"]["precision"], row["settings"]["shared"]): row for row in _of(rows, "torch")}
    lines = [
        "| device | proxies | strategy | precision | chunk | tracing s | lowering s | compiling or loading s "
        "| first chunk s | networks a second | eager PyTorch, own passes: s, ratio | shared passes |",
        "|" + "---|" * 12,
    ]
    for row in _of(rows, "score"):
        settings = row["settings"]
        pace = row["pace"]
        cells = [settings["device"], settings["proxies"].replace(",", ", "), _strategy(row)]
        cells += [settings["precision"], settings["chunk"]]
        cells += [f"{row[name]:.1f}" if row.get(name) is not None else "-" for name in ("tracing", "lowering")]
        compiling = "-" if row.get("compiling") is None else f"{row['compiling']:.1f}"
        cells += [compiling + " (cached)" * settings["cached"], f"{row['first_chunk']:.0f}"]
        cells += ["-" if pace is None else f"{pace:.1f}"]
        for shared in (False, True):
            other = torch.get((settings["precision"], shared))
            has = other is not None and pace is not None and settings["proxies"] == "robot"
            cells.append(f"{other['seconds']:.3f}, {other['seconds'] * pace:.0f} x" if has else "-")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines if len(lines) > 2 else []


def show_kernels(rows: list[dict]) -> list[str]:
    """Return time and bytes by kind, and the share of the bandwidth."""
    lines: list[str] = []
    for row in _of(rows, "score"):
        profile = row.get("profile")
        if not profile:
            continue
        times, moved = profile["kernel_ns"], profile["bytes"]
        total, whole = max(sum(times.values()), 1), max(sum(moved.values()), 1)
        settings = row["settings"]
        lines += [
            f"Kernels of one chunk of {settings['chunk']} networks, {settings['proxies']}, {_strategy(row)}, "
            f"{settings['precision']}, {settings['device']}; a pass is one read and one write of the features of all "
            "edges:",
            "",
            "| kind | ms | share | GB moved | passes |",
            "|---|---|---|---|---|",
        ]
        for kind in sorted({*times, *moved}, key=lambda kind: -times.get(kind, 0)):
            milliseconds, size = times.get(kind, 0) / 1e6, moved.get(kind, 0)
            share = f"{times.get(kind, 0) / total:.1%}"
            lines.append(
                f"| {kind} | {milliseconds:.1f} | {share} | {size / 1e9:.2f} | {size / profile['edge_bytes']:.1f} |"
            )
        rate = whole / (total / 1e9)
        peak = next((peak for name, peak in BANDWIDTH.items() if name in settings["device"]), None)
        roofline = "" if peak is None else f", {rate / peak:.0%} of {peak / 1e12:g} TB/s"
        lines += [
            f"| all {profile['kernels']:,} | {total / 1e6:.1f} | 100.0% | {whole / 1e9:.2f} | "
            f"{whole / profile['edge_bytes']:.1f} |",
            "",
            f"{rate / 1e9:,.0f} GB/s{roofline}.",
        ]
    return lines


def show_training(rows: list[dict]) -> list[str]:
    """Return a row for each number of candidates and strategy."""
    found = _of(rows, "train")
    if not found:
        return []
    lines = [
        "| device | candidates | strategy | ready after s | ms of a step of all "
        "| s of a candidate (12 epochs, 50,000 images) |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        numbers = f"{row['ready']:.0f} | {1e3 * row['step']:.1f} | {row['candidate']:.1f}"
        settings = row["settings"]
        lines.append(f"| {settings['device']} | {settings['number']} | {settings['strategy']} | {numbers} |")
    return lines


def show_agreement(rows: list[dict]) -> list[str]:
    """Return relative differences and rank correlations of each proxy of each scoring and of PyTorch."""
    lines = [
        "| scores | proxy | compared with | relative difference, median | 99 % below | Spearman | cells |",
        "|" + "---|" * 7,
    ]
    reference = next(iter(_of(rows, "reference")), None)
    for row in [*_of(rows, "score"), *_of(rows, "torch")]:
        settings = row["settings"]
        if settings["cached"]:
            continue
        known = row.get("agreement") or (reference and agreement(row["scores"], reference["scores"])) or {}
        label = f"{settings['device']}, {'PyTorch, ' * (settings['kind'] == 'torch')}{settings['precision']}"
        label += ", shared passes" * settings["shared"] + ", fused" * (_strategy(row) == "fused")
        against = "CPU, float32" if row.get("agreement") else "CPU, float64"
        for name, of in known.items():
            lines.append(
                f"| {label} | {name} | {against} | {of['median']:.0e} | {of['p99']:.0e} | {of['spearman']:.4f} | "
                f"{of['architectures']} |"
            )
    return lines if len(lines) > 2 else []


def agreement(scores: dict[str, list], reference: dict[str, list]) -> dict[str, dict]:
    """Return what two devices agree on, over the cells that both scored."""
    from jaxnas.table.evaluation import spearman  # which imports JAX, before parts have set its flags

    found = {}
    for name in [name for name in scores if name in reference]:
        number = min(len(scores[name]), len(reference[name]))
        ours, theirs = (np.array(one[name][:number], float) for one in (scores, reference))
        finite = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[finite], theirs[finite]
        if len(ours) < 2:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = np.nan_to_num(np.abs(ours - theirs) / np.abs(theirs))  # 0 / 0
        found[name] = {
            "architectures": len(ours),
            "median": float(np.median(difference)),
            "p99": float(np.quantile(difference, 0.99)),
            "spearman": float(spearman(ours, theirs)),
        }
    return found


def _of(rows: list[dict], kind: str) -> list[dict]:
    return [row for row in rows if row["settings"]["kind"] == kind]


def _strategy(row: dict) -> str:
    """Return the strategy of scoring; earlier rows do not name it."""
    strategy: str = row["settings"].get("strategy", "grouped")
    return strategy
