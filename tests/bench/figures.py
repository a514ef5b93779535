"""Medians, percentiles and tables."""

import math
import statistics


def summary(name, milliseconds):
    """A result as the JSON form has it."""
    return {"name": name, "median_ms": round(statistics.median(milliseconds), 1),
            "p95_ms": round(percentile(milliseconds, 95), 1), "runs": len(milliseconds)}


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
