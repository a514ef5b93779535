"""The machine that is measured on."""

import os


def to_json(load_before):
    return {"kernel": os.uname().release, "cpus": len(os.sched_getaffinity(0)),
            "load_before": round(load_before, 2)}


def load_text(load_before):
    cpus = len(os.sched_getaffinity(0))
    if load_before <= cpus / 2:
        return ""
    return (f"The machine was not idle: load {load_before:.1f} on {cpus} CPUs before the "
            "first run.")
