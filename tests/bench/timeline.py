"""When a container's stages were reached: from the lines `msg=stage` of the shim in containerd's log
(runtime/sandbox/timeline.h)."""

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone

FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|(\S*))')
BEFORE_THE_SHIM = "shim start"
AFTER_THE_SHIM = "ctr end"


@dataclass(frozen=True)
class Stage:
    name: str
    at_ms: float    # since the start of ctr
    took_ms: float  # since the stage before


def read(log, spans):
    """The stages of each container of `spans`: its id -> when ctr began and ended, in seconds since
    the epoch."""
    reached = defaultdict(dict)
    for line in log.splitlines():
        fields = {name: quoted or plain for name, quoted, plain in FIELD.findall(line)}
        name = fields.get("sandbox")
        if fields.get("msg") != "stage" or name not in spans:
            continue
        # `ms` counts from the start of the process that serves the pod. A stage may be logged later
        # than it was reached, so only the first line's time is used.
        since_shim = float(fields["ms"])
        stages = reached[name]
        if not stages:
            stages[BEFORE_THE_SHIM] = (_epoch(fields["time"]) - spans[name][0]) * 1000 - since_shim
        stages[fields["stage"]] = stages[BEFORE_THE_SHIM] + since_shim
    for name, stages in reached.items():
        stages[AFTER_THE_SHIM] = (spans[name][1] - spans[name][0]) * 1000
    return [_stages(sorted(stages.items(), key=lambda point: point[1]))
            for stages in reached.values()]


def medians(timelines):
    """One timeline of the medians, in the order of the first."""
    by_name = defaultdict(list)
    for stages in timelines:
        for stage in stages:
            by_name[stage.name].append(stage)
    return [Stage(name, statistics.median(stage.at_ms for stage in stages),
                  statistics.median(stage.took_ms for stage in stages))
            for name, stages in by_name.items()]


def _epoch(text):
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    return moment.replace(tzinfo=timezone.utc).timestamp()


def _stages(points):
    befores = [0.0, *(at_ms for _, at_ms in points)]
    return [Stage(name, at_ms, at_ms - before) for (name, at_ms), before in zip(points, befores)]
