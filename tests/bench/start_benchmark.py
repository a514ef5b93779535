"""`tools/bench start`: how long `ctr run --rm … true` takes with our runtime and with runc, beside the
floor; by stage; and what an idle pod costs in memory. One interleaved run, so that whatever else the
machine does falls on all of them."""

import contextlib
import json
import os
import subprocess

import floor
import pods
import timed_output
import timeline
from private_containerd import ContainerdError
from start_report import StartFigures

FAILURES = (ContainerdError, floor.FloorError, subprocess.SubprocessError,
            timed_output.CommandFailed)


def run(progress, build, runs, json_path):
    figures = StartFigures(load_before=os.getloadavg()[0])
    with contextlib.ExitStack() as stack:
        with progress.stage("containerd", FAILURES):
            containers = stack.enter_context(contextlib.closing(pods.Pods(build)))
        with progress.stage("idle pods", FAILURES):
            figures.memory = {"kata": containers.idle_processes(pods.KATA),
                              "runc": containers.idle_processes(pods.RUNC)}
        figures.floor_argv = floor.command_line(
            floor.qemu_argv(figures.memory["kata"]),
            floor.write_initramfs(pods.DIRECTORY / "floor.img", build.floor_init))
        with progress.stage("runs", FAILURES) as stage:
            began = _measure(stage, containers, figures, runs)
    figures.timelines = timeline.read(containers.containerd.log_path.read_text(errors="replace"), began)
    progress.finish()
    print(figures.report())
    if json_path:
        json_path.write_text(json.dumps(figures.to_json(), indent=2) + "\n")


def _measure(stage, containers, figures, runs):
    """The first round warms the caches and does not count. Returns, by container, when ctr began and
    ended, in seconds since the epoch."""
    began = {}
    for number in range(runs + 1):
        stage.show(f"{number} of {runs}" if number else "warming up")
        floor_run = floor.run(figures.floor_argv)
        name = f"kata-bench-{number}"
        cold = timed_output.run(containers.run_argv(pods.KATA, name, "true"))
        runc = timed_output.run(containers.run_argv(pods.RUNC, f"{name}-runc", "true"))
        if number:
            figures.floor.append(floor_run)
            figures.cold_ms.append(cold.total_ms)
            figures.runc_ms.append(runc.total_ms)
            began[name] = (cold.began, cold.began + cold.total_ms / 1000)
    return began
