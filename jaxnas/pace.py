"""How fast work goes, and what memory it takes."""

import os
import time
from pathlib import Path
from typing import Any


class Pace:
    """How fast a stage goes, from the first piece on: what came before was compiling."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int | None) -> dict[str, Any]:
        """How many a second, seconds to go and megabytes in use; None for what is not known (yet)."""
        now = time.monotonic()
        if self.first is None or done < self.first[1]:  # it begins anew
            self.first = now, done
        since, before = self.first
        rate = (done - before) / (now - since) if done > before and now > since else None
        return {
            "done": done,
            "total": total,
            "rate": rate and round(rate, 3),
            "eta_s": round((total - done) / rate, 1) if rate and total else None,
            **memory(),
        }


def memory() -> dict[str, float | None]:
    """Megabytes that the process and its accelerators use now; None where the system does not tell."""
    import jax

    statm = Path("/proc/self/statm")  # Linux
    pages = int(statm.read_text().split()[1]) if statm.exists() else None
    in_use = [stats["bytes_in_use"] for device in jax.local_devices() if (stats := device.memory_stats())]
    return {
        "rss_mb": pages and round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        "device_mb": round(sum(in_use) / 1e6, 1) if in_use else None,
    }
