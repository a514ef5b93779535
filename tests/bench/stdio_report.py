"""The figures of `tools/bench stdio`, as text and as JSON."""

from dataclasses import dataclass, field

import machine
from figures import summary, table

AIM_RATIO = 0.8
NAMES = {"floor": "vsock", "kata": "stdout", "runc": "runc stdout"}


@dataclass
class StdioFigures:
    mib: int            # of each run
    load_before: float  # 1-minute load average
    took_ms: dict = field(default_factory=dict)  # kind -> from the first byte to the last

    def results(self):
        return [self._with_rate(summary(name, self.took_ms[kind])) for kind, name in NAMES.items()]

    def to_json(self):
        results = self.results()
        floor, _, runc = results
        return {
            "results": results,
            "ratio_to_vsock": _ratios(results, floor),
            "ratio_to_runc": _ratios(results, runc),
            "mib": self.mib,
            "machine": machine.to_json(self.load_before),
        }

    def report(self):
        figures = self.to_json()
        rows = [(result["name"], f"{result['mib_per_s']:.0f}", f"{result['median_ms']:.0f}",
                 f"{result['p95_ms']:.0f}", str(result["runs"]),
                 f"{figures['ratio_to_vsock'][result['name']]:.2f}",
                 f"{figures['ratio_to_runc'][result['name']]:.2f}")
                for result in figures["results"]]
        text = (table(("", "MiB/s", "median ms", "p95 ms", "runs", "to vsock", "to runc"), rows) +
                f"\nstdout: {self.mib} MiB of ctr run … dd, from the first byte to the last (aim: "
                f"{AIM_RATIO:.1f} to vsock)")
        return "\n\n".join(filter(None, (text, machine.load_text(self.load_before))))

    def _with_rate(self, result):
        return result | {"mib_per_s": round(self.mib / (result["median_ms"] / 1000), 1)}


def _ratios(results, reference):
    return {result["name"]: round(result["mib_per_s"] / reference["mib_per_s"], 3)
            for result in results}
