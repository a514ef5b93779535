"""The figures of `tools/bench start`, as text and as JSON."""

import statistics
from dataclasses import dataclass, field

import machine
import timeline
from figures import summary, table

AIM_RATIO = 1.4
AIM_SHIM_MB = 25


@dataclass
class StartFigures:
    load_before: float  # 1-minute load average
    memory: dict = field(default_factory=dict)      # kind of pod -> its processes when idle
    floor_argv: list = field(default_factory=list)
    floor: list = field(default_factory=list)       # FloorRuns
    cold_ms: list = field(default_factory=list)
    runc_ms: list = field(default_factory=list)
    timelines: list = field(default_factory=list)

    def results(self):
        return [summary("floor", [run.total_ms for run in self.floor]),
                summary("cold", self.cold_ms), summary("runc", self.runc_ms)]

    def to_json(self):
        results = self.results()
        floor_ms = results[0]["median_ms"]
        return {
            "results": results,
            "ratio_to_floor": {result["name"]: round(result["median_ms"] / floor_ms, 3)
                               for result in results},
            "floor_pid1_ms": round(self._pid1_ms(), 1),
            "timeline": [{"stage": stage.name, "took_ms": round(stage.took_ms, 1),
                          "at_ms": round(stage.at_ms, 1)} for stage in self._stages()],
            "idle_pss_mb": {kind: [{"program": usage.program, "pss_mb": round(usage.pss_mb, 1)}
                                   for usage in usages] for kind, usages in self.memory.items()},
            "floor_command": self.floor_argv,
            "machine": machine.to_json(self.load_before),
        }

    def report(self):
        return "\n\n".join(filter(None, (self._results_text(), self._timeline_text(),
                                         self._memory_text(), machine.load_text(self.load_before))))

    def _pid1_ms(self):
        return statistics.median(run.pid1_ms for run in self.floor)

    def _stages(self):
        return timeline.medians(self.timelines)

    def _results_text(self):
        results = self.results()
        floor_ms = results[0]["median_ms"]
        rows = [(result["name"], f"{result['median_ms']:.0f}", f"{result['p95_ms']:.0f}",
                 str(result["runs"]), f"{result['median_ms'] / floor_ms:.2f}")
                for result in results]
        return (table(("", "median ms", "p95 ms", "runs", "to the floor"), rows) +
                "\nfloor: a bare QEMU with the same machine and kernel, from its start to its exit "
                f"(PID 1 after {self._pid1_ms():.0f} ms)\n"
                f"cold: ctr run --rm … true with our runtime (aim: {AIM_RATIO} times the floor)")

    def _timeline_text(self):
        rows = [(stage.name, f"{stage.took_ms:.0f}", f"{stage.at_ms:.0f}")
                for stage in self._stages()]
        return table(("cold, until", "took ms", "at ms"), rows) + "\n(medians)" if rows else ""

    def _memory_text(self):
        rows = [(f"{kind}: {usage.program}", f"{usage.pss_mb:.1f}")
                for kind, usages in self.memory.items() for usage in usages]
        return (table(("idle pod", "PSS MB"), rows) +
                f"\n(aim for our shim: {AIM_SHIM_MB} MB; the VM's RAM is in QEMU's)")
