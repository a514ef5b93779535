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
    reached = defaultdict(list)
    for line in log.splitlines():
        fields = {name: quoted or plain for name, quoted, plain in FIELD.findall(line)}
        name = fields.get("sandbox")
        if fields.get("msg") != "stage" or name not in spans:
            continue
        at_ms = (_epoch(fields["time"]) - spans[name][0]) * 1000
        if not reached[name]:
            # Counted from the start of the process that serves the pod.
            reached[name].append((BEFORE_THE_SHIM, at_ms - float(fields["ms"])))
        reached[name].append((fields["stage"], at_ms))
    return [_stages([*points, (AFTER_THE_SHIM, (spans[name][1] - spans[name][0]) * 1000)])
            for name, points in reached.items()]


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
