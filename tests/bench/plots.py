"""A benchmark's figures as an SVG: bars of the medians, marks at the percentiles."""

import math

import matplotlib
from matplotlib.figure import Figure as Canvas

COLUMNS = 3
# Beyond it the short bars could not be told apart.
LINEAR_RATIO = 20
COLOURS = {"floor": "#888888", "cold": "#1f77b4", "template": "#17becf", "runc": "#2ca02c",
           "runsc": "#ff7f0e"}


def write(path, benchmark, rows):
    """Same figures, same bytes: without the date, with ids that depend on the content. Returns the
    file's name."""
    with matplotlib.rc_context({"svg.hashsalt": benchmark.NAME, "svg.fonttype": "none"}):
        columns = min(COLUMNS, len(rows))
        lines = math.ceil(len(rows) / columns)
        canvas = Canvas(figsize=(4.5 * columns, 2.2 * lines), layout="constrained")
        axes = canvas.subplots(lines, columns, squeeze=False)
        for axis, row in zip(axes.flat, rows):
            _draw(axis, row)
        for axis in list(axes.flat)[len(rows):]:
            axis.set_axis_off()
        canvas.savefig(path, metadata={"Date": None, "Creator": None})
    return path.name


def _draw(axis, row):
    results = row.results()
    names = [result["name"] for result in results]
    medians, percentiles = ([list(result.values())[place] for result in results] for place in (1, 2))
    axis.barh(names, medians, color=[COLOURS[name] for name in names])
    axis.plot(percentiles, names, linestyle="", marker="|", markersize=10, color="black")
    axis.invert_yaxis()
    axis.set_title(row.figure.title, fontsize=10)
    if max(medians) > LINEAR_RATIO * min(medians):
        axis.set_xscale("log")
        axis.set_xlabel(f"{row.figure.unit}, logarithmic", fontsize=9)
    else:
        axis.set_xlabel(row.figure.unit, fontsize=9)
        axis.set_xlim(left=0)
