"""Figures, their medians and percentiles, and tables."""

import math
import statistics
from dataclasses import dataclass

DIGITS = {"ratio": 3}


@dataclass(frozen=True)
class Figure:
    """What a benchmark brings samples of."""
    name: str
    title: str
    unit: str  # as it is written: ms, MiB/s; "ratio" where there is none
    higher_is_better: bool = False


@dataclass(frozen=True)
class Aim:
    """What a peer's median of a figure has to reach: `limit`, or that part of another peer's."""
    figure: str
    peer: str
    limit: float
    of: str = None


def summary(name, values, unit="ms", higher_is_better=False):
    """A result as the JSON form has it. The percentile is on the bad side: 95 of 100 runs were no
    worse."""
    digits = DIGITS.get(unit, 1)
    suffix = unit.lower().replace("/", "_per_")
    return {"name": name, f"median_{suffix}": round(statistics.median(values), digits),
            f"p95_{suffix}": round(percentile(values, 5 if higher_is_better else 95), digits),
            "runs": len(values)}


def percentile(values, percent):
    """The smallest value that at least `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(head, rows):
    """The first column to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]),
                   *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]).rstrip()
        for line in lines)
