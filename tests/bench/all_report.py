"""The figures of `tools/bench all`: as JSON, as Markdown and as text."""

import statistics
from dataclasses import dataclass, field

import machine
from figures import summary, table

PEERS = {
    "floor": "a bare QEMU with the machine, kernel and share of our pods and nothing else",
    "cold": "our runtime, each pod booted",
    "template": "our runtime, each pod from a template",
    "runc": "`io.containerd.runc.v2`",
    "runsc": "gVisor below `io.containerd.runc.v2`",
}
SHORT = "The short form: sizes are too small for the figures to mean anything."


@dataclass(frozen=True)
class Row:
    """A figure of one benchmark: peer -> samples."""
    figure: object
    samples: dict

    def median(self, peer):
        return statistics.median(self.samples[peer])

    def results(self):
        return [summary(peer, values, self.figure.unit, self.figure.higher_is_better)
                for peer, values in self.samples.items()]


@dataclass
class AllFigures:
    command: str
    short: bool
    machine: dict = field(default_factory=dict)
    runsc_platform: str = None
    left_out: dict = field(default_factory=dict)    # peer -> why
    samples: dict = field(default_factory=dict)     # benchmark -> figure -> peer -> values

    def add(self, benchmark, peer, samples):
        figures = self.samples.setdefault(benchmark, {})
        for name, values in samples.items():
            figures.setdefault(name, {}).setdefault(peer, []).extend(values)

    def tables(self):
        """(benchmark, its Rows): figures that have samples."""
        return [(benchmark, [Row(figure, figures[figure.name]) for figure in benchmark.FIGURES
                             if figure.name in figures])
                for benchmark, figures in self.samples.items()]

    def to_json(self):
        by_name = {benchmark.NAME: rows for benchmark, rows in self.tables()}
        return {
            "results": [result for row in by_name.get("start-stop", []) for result in row.results()],
            "benchmarks": {name: {row.figure.name: {"unit": row.figure.unit, "results": row.results()}
                                  for row in rows} for name, rows in by_name.items()},
            "aims": [{"benchmark": benchmark.NAME, "figure": aim.figure, "peer": aim.peer,
                      "of": aim.of, "limit": aim.limit, "value": round(value, 3), "reached": reached}
                     for benchmark, _, aim, value, reached in self._aims()],
            "left_out": self.left_out,
            "runsc_platform": self.runsc_platform,
            "short": self.short,
            "command": self.command,
            "machine": self.machine,
        }

    def markdown(self, pictures):
        """pictures: name of a benchmark -> file name of its plot."""
        parts = ["# Results", self._about()]
        for benchmark, rows in self.tables():
            head = ["", "unit", *self._peers(rows), "runs"]
            lines = [_markdown_line(head), _markdown_line(["---"] + ["---:"] * (len(head) - 1))]
            lines += [_markdown_line(cells) for cells in self._cells(rows)]
            parts += [f"## {benchmark.TITLE}", "\n".join(lines),
                      "\n".join(f"- {line}" for line in self._aim_lines(benchmark)),
                      f"![{benchmark.TITLE}]({pictures[benchmark.NAME]})"]
        return "\n\n".join(filter(None, parts)) + "\n"

    def text(self):
        parts = []
        for benchmark, rows in self.tables():
            parts.append(table((benchmark.TITLE, "unit", *self._peers(rows), "runs"), self._cells(rows))
                         + "".join(f"\n{line}" for line in self._aim_lines(benchmark)))
        parts += [f"{name} is left out: {reason}" for name, reason in self.left_out.items()]
        parts += [machine.load_text(self.machine["load_before"]), SHORT if self.short else ""]
        return "\n\n".join(filter(None, parts))

    @staticmethod
    def _peers(rows):
        measured = {peer for row in rows for peer in row.samples}
        return [peer for peer in PEERS if peer in measured]

    def _cells(self, rows):
        """Median, then the percentile."""
        cells = []
        for row in rows:
            figures = {result["name"]: list(result.values()) for result in row.results()}
            cells.append([row.figure.title, row.figure.unit,
                          *(f"{number(figures[peer][1])} ({number(figures[peer][2])})"
                            if peer in figures else "" for peer in self._peers(rows)),
                          str(max(len(values) for values in row.samples.values()))])
        return cells

    def _aims(self):
        """(benchmark, figure, aim, value, whether it is reached) where what it compares was measured."""
        for benchmark, rows in self.tables():
            by_name = {row.figure.name: row for row in rows}
            for aim in benchmark.AIMS:
                row = by_name.get(aim.figure)
                if not row or any(peer not in row.samples for peer in (aim.peer, aim.of or aim.peer)):
                    continue
                value = row.median(aim.peer) / (row.median(aim.of) if aim.of else 1)
                reached = (value >= aim.limit if row.figure.higher_is_better else value <= aim.limit)
                yield benchmark, row.figure, aim, value, reached

    def _aim_lines(self, of_benchmark):
        if self.short:
            return
        for benchmark, figure, aim, value, reached in self._aims():
            if benchmark is of_benchmark:
                bound = "at least" if figure.higher_is_better else "at most"
                what = f"{number(value)} of {aim.of}" if aim.of else number(value)
                yield (f"{figure.title}: {aim.peer} {what} (aim: {bound} {aim.limit}"
                       f"{'' if reached else ', not reached'})")

    def _about(self):
        facts = self.machine
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        lines = [
            f"`{self.command}` on {facts['cpus']} CPUs ({facts['cpu']}), {facts['memory_gib']} GiB, "
            f"Linux {facts['kernel']}; accelerator {facts['accelerator']}; guests with "
            f"{facts['guest_memory']}, {facts['guest_cpus']}, Linux {facts['guest_kernel']}. "
            f"{versions}.",
            "Medians, in parentheses the 95th percentile (of rates the 5th: 95 of 100 runs were no "
            "worse), by nearest rank. What the figures are: [benchmarks.md](../benchmarks.md).",
            "\n".join(f"- **{peer}**: {what}" + self._remark(peer) for peer, what in PEERS.items()),
            machine.load_text(facts["load_before"]),
            SHORT if self.short else "",
        ]
        return "\n\n".join(filter(None, lines))

    def _remark(self, peer):
        if peer in self.left_out:
            return f"; left out: {self.left_out[peer]}"
        if peer == "runsc":
            return f", platform {self.runsc_platform}, no network"
        return ""


def number(value):
    """Three significant digits, all of those before the point."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _markdown_line(cells):
    return f"| {' | '.join(cells)} |"
