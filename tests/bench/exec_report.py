"""The figures of `tools/bench exec`, as text and as JSON."""

import statistics
from dataclasses import dataclass, field

import machine
from figures import percentile, summary, table
from usage import Usage

NAMES = {"kata": "exec", "runc": "runc exec"}
CALLS = ("state", "kill", "exec", "stats")


@dataclass(frozen=True)
class Block:
    """Execs in a row: how many there have been at its end, and what the shim held then."""
    count: int
    exec_ms: list
    usage: Usage


@dataclass
class ExecFigures:
    load_before: float  # 1-minute load average
    exec_ms: dict = field(default_factory=lambda: {kind: [] for kind in NAMES})
    beside_ms: dict = field(default_factory=lambda: {call: {kind: [] for kind in NAMES}
                                                     for call in CALLS})
    usage_before: Usage = None
    blocks: list = field(default_factory=list)

    def results(self):
        return [summary(name, self.exec_ms[kind]) for kind, name in NAMES.items()]

    def to_json(self):
        results = self.results()
        runc_ms = results[-1]["median_ms"]
        return {
            "results": results,
            "ratio_to_runc": {result["name"]: round(result["median_ms"] / runc_ms, 3)
                              for result in results},
            "beside_a_stopped_reader": [summary(name, self.beside_ms[call][kind])
                                        for call, kind, name in self._beside()],
            "in_a_row": [{"count": block.count,
                          "median_ms": round(statistics.median(block.exec_ms), 1),
                          "p95_ms": round(percentile(block.exec_ms, 95), 1),
                          "shim": block.usage.to_json()} for block in self.blocks],
            "shim_before": self.usage_before and self.usage_before.to_json(),
            "machine": machine.to_json(self.load_before),
        }

    def report(self):
        return "\n\n".join(filter(None, (self._results_text(), self._beside_text(),
                                         self._row_text(), machine.load_text(self.load_before))))

    def _results_text(self):
        results = self.results()
        runc_ms = results[-1]["median_ms"]
        rows = [(result["name"], f"{result['median_ms']:.0f}", f"{result['p95_ms']:.0f}",
                 str(result["runs"]), f"{result['median_ms'] / runc_ms:.2f}") for result in results]
        return (table(("", "median ms", "p95 ms", "runs", "to runc"), rows) +
                "\nexec: ctr task exec … true in a running container of our runtime")

    def _beside(self):
        return [(call, kind, call if kind == "kata" else f"runc {call}")
                for call in CALLS for kind in NAMES if self.beside_ms[call][kind]]

    def _beside_text(self):
        rows = [(name, *(f"{value:.0f}" for value in (
            statistics.median(self.beside_ms[call][kind]),
            percentile(self.beside_ms[call][kind], 95), max(self.beside_ms[call][kind]))))
                for call, kind, name in self._beside()]
        if not rows:
            return ""
        return (table(("beside a stopped reader", "median ms", "p95 ms", "max ms"), rows) +
                "\n(each with the start of its ctr; aim: 100 ms)")

    def _row_text(self):
        rows = [(str(block.count), f"{statistics.median(block.exec_ms):.0f}",
                 f"{percentile(block.exec_ms, 95):.0f}", *_usage_cells(block.usage))
                for block in self.blocks]
        if not rows:
            return ""
        before = ("0", "", "", *_usage_cells(self.usage_before))
        return table(("in a row", "median ms", "p95 ms", "shim's fds", "threads", "RSS MB"),
                     [before, *rows]) + "\n(times: of the block that ends there)"


def _usage_cells(usage):
    return str(usage.descriptors), str(usage.threads), f"{usage.rss_kb / 1024:.1f}"
