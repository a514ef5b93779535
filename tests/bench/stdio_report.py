"""The figures of `tools/bench stdio`, as text and as JSON."""

from dataclasses import dataclass, field

import machine
from figures import summary, table

NAMES = {"floor": "vsock", "kata": "stdout", "runc": "runc stdout"}


@dataclass
class StdioFigures:
    mib: int            # of each run
    load_before: float  # 1-minute load average
    took_ms: dict = field(default_factory=dict)  # kind -> from the first byte to the last

    def results(self):
        return [self._with_rate(summary(NAMES[kind], self.took_ms[kind]))
                for kind in NAMES if kind in self.took_ms]

    def to_json(self):
        results = self.results()
        runc_rate = results[-1]["mib_per_s"]
        return {
            "results": results,
            "ratio_to_runc": {result["name"]: round(result["mib_per_s"] / runc_rate, 3)
                              for result in results},
            "mib": self.mib,
            "machine": machine.to_json(self.load_before),
        }

    def report(self):
        results = self.results()
        runc_rate = results[-1]["mib_per_s"]
        rows = [(result["name"], f"{result['mib_per_s']:.0f}", f"{result['median_ms']:.0f}",
                 f"{result['p95_ms']:.0f}", str(result["runs"]),
                 f"{result['mib_per_s'] / runc_rate:.2f}") for result in results]
        text = (table(("", "MiB/s", "median ms", "p95 ms", "runs", "to runc"), rows) +
                f"\nstdout: {self.mib} MiB of ctr run … dd, from the first byte to the last")
        return "\n\n".join(filter(None, (text, machine.load_text(self.load_before))))

    def _with_rate(self, result):
        return result | {"mib_per_s": round(self.mib / (result["median_ms"] / 1000), 1)}
