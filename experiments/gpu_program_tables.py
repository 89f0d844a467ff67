"""The tables of `gpu_program.py`."""

from accelerator_tables import BANDWIDTH

ORDER = ("robot", "nbsz", "tensorfloat32", "float32", "grouped", "fused")
NAMES = ("proxies", "precision", "strategy")


def to_markdown(rows: list[dict]) -> str:
    """Return the forms, their kernels by kind and by loop, and what flags change of compiling, in whatever order."""
    rows = sorted(rows, key=lambda row: [ORDER.index(row["settings"][name]) for name in NAMES])
    plain = [row for row in rows if not row["settings"]["flags"]]
    flagged = [row for row in rows if row["settings"]["flags"]]
    tables = [show_forms(plain)]
    for row in plain:
        tables += [show_kinds(row), show_loops(row)]
    if flagged:
        tables.append(
            show_flags([row for row in plain if row["settings"] == flagged[0]["settings"] | {"flags": ""}] + flagged)
        )
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def show_forms(rows: list[dict]) -> list[str]:
    """Return a row for each form, with the times at the bandwidth of two cards."""
    cards = ("H100", "H200")
    lines = [
        "Compiled for an H100 without one, without autotuning; nothing has run. A pass is one read and one write of "
        "the features of all edges. Kernels are counted with the runs of loops.",
        "",
        "| proxies | precision | strategy | tracing s | lowering s | compiling s | CPU s of it | kernels | GB moved "
        "| passes | temporary GB | "
        + " | ".join(f"ms at the bandwidth of an {card}, networks a second" for card in cards)
        + " |",
        "|" + "---|" * (11 + len(cards)),
    ]
    for row in rows:
        number, moved = total_of(row)
        settings = row["settings"]
        cells = [settings[name] for name in NAMES]
        cells += [f"{row[name]:.0f}" for name in ("tracing", "lowering", "compiling", "cpu_seconds")]
        cells += [
            f"{number:,}",
            f"{moved / 1e9:,.0f}",
            f"{moved / row['edge_bytes']:.1f}",
            f"{row['temporary'] / 1e9:.1f}",
        ]
        for card in cards:
            seconds = moved / BANDWIDTH[card]
            cells.append(f"{1e3 * seconds:.0f}, {row['chunk'] / seconds:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def show_kinds(row: dict) -> list[str]:
    """Return kernels and bytes of a form by kind."""
    lines = [f"Kernels of one chunk of {row['chunk']} networks, {title_of(row)}:", ""]
    lines += ["| kind | kernels | GB moved | passes |", "|---|---|---|---|"]
    number, moved = total_of(row)
    for kind, of in [*row["kinds"].items(), ("all", {"kernels": number, "bytes": moved})]:
        size = of["bytes"]
        lines.append(f"| {kind} | {of['kernels']:,} | {size / 1e9:.1f} | {size / row['edge_bytes']:.2f} |")
    return lines


def show_loops(row: dict) -> list[str]:
    """Return passes and kernels of a form by sweep and stage; loops that belong to no stage are elsewhere."""
    loops = row["loops"]
    stages = sorted({stage for loop in loops.values() for stage in loop if stage})
    lines = [f"Passes, and kernels in brackets, by sweep over the network, {title_of(row)}:", ""]
    lines += ["| sweep | " + " | ".join(stages) + " | all |", "|" + "---|" * (len(stages) + 2)]

    def show(of: list[dict[str, int]]) -> str:
        size, number = (sum(one[name] for one in of) for name in ("bytes", "kernels"))
        return f"{size / row['edge_bytes']:.2f} ({number:,})" if of else "-"

    for name, loop in loops.items():
        if of_stages := [loop[stage] for stage in stages if stage in loop]:
            cells = [show([loop[stage]] if stage in loop else []) for stage in stages]
            lines.append("| " + " | ".join([name, *cells, show(of_stages)]) + " |")
    elsewhere = show([loop[""] for loop in loops.values() if "" in loop])
    lines.append("| elsewhere | " + "- | " * len(stages) + f"{elsewhere} |")
    return lines


def show_flags(rows: list[dict]) -> list[str]:
    """Return seconds of compiling by flags."""
    cores = rows[0]["cores"]
    lines = [f"Seconds of compiling, {title_of(rows[0])}, on {cores} cores that others used too, by flags of XLA:", ""]
    lines += ["| flags | compiling s | CPU s | kernels | Pallas kernels compiled, of calls |", "|---|---|---|---|---|"]
    for row in rows:
        flags, pallas = row["settings"]["flags"], row["pallas"]
        lines.append(
            f"| {f'`{flags}`' if flags else 'none'} | {row['compiling']:.0f} | {row['cpu_seconds']:.0f} "
            f"| {total_of(row)[0]:,} | {pallas['compiled']}, {pallas['calls']} |"
        )
    return lines


def title_of(row: dict) -> str:
    """Return what a person reads of a form."""
    return ", ".join(row["settings"][name] for name in NAMES)


def total_of(row: dict) -> tuple[int, int]:
    """Return the kernels and the bytes of a form."""
    kinds = row["kinds"].values()
    return sum(of["kernels"] for of in kinds), sum(of["bytes"] for of in kinds)
