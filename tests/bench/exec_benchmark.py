"""`tools/bench exec`: how long `ctr task exec … true` takes in a container of our runtime and in one of
runc, interleaved; and whether it stays so, with what our shim holds, over a thousand of them."""

import contextlib
import json
import os
import subprocess
import time

import pods
import usage
from exec_report import Block, ExecFigures
from private_containerd import ContainerdError

FAILURES = (ContainerdError, subprocess.SubprocessError, usage.NoShim)
NAMES = {"kata": "kata-bench-exec", "runc": "kata-bench-exec-runc"}
BLOCK = 100


def run(progress, build, runs, in_a_row, json_path):
    figures = ExecFigures(load_before=os.getloadavg()[0])
    with contextlib.ExitStack() as stack:
        with progress.stage("containerd", FAILURES):
            containers = stack.enter_context(contextlib.closing(pods.Pods(build)))
        with progress.stage("containers", FAILURES):
            for kind, runtime in (("kata", pods.KATA), ("runc", pods.RUNC)):
                containers.run(runtime, NAMES[kind], "sleep", "100000", detach=True)
                stack.callback(containers.remove, NAMES[kind])
        with progress.stage("runs", FAILURES) as stage:
            _interleaved(stage, containers, figures, runs)
        with progress.stage("in a row", FAILURES) as stage:
            _in_a_row(stage, containers, figures, in_a_row)
    progress.finish()
    print(figures.report())
    if json_path:
        json_path.write_text(json.dumps(figures.to_json(), indent=2) + "\n")


def _interleaved(stage, containers, figures, runs):
    """The first round warms the caches and does not count."""
    for number in range(runs + 1):
        stage.show(f"{number} of {runs}" if number else "warming up")
        for kind, name in NAMES.items():
            took_ms = _time_exec(containers, name, f"run-{number}")
            if number:
                figures.exec_ms[kind].append(took_ms)


def _in_a_row(stage, containers, figures, count):
    """In our container alone; after each block, what its shim holds."""
    figures.usage_before = usage.of_shim(NAMES["kata"])
    for first in range(0, count, BLOCK):
        stage.show(f"{first} of {count}")
        size = min(BLOCK, count - first)
        took_ms = [_time_exec(containers, NAMES["kata"], f"row-{first + number}")
                   for number in range(size)]
        figures.blocks.append(Block(first + size, took_ms, usage.of_shim(NAMES["kata"])))


def _time_exec(containers, name, exec_id):
    began = time.perf_counter()
    containers.exec(name, exec_id, "true")
    return (time.perf_counter() - began) * 1000
