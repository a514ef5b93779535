"""`tools/bench exec`: how long `ctr task exec … true` takes in a container of our runtime and in one of
runc, interleaved; whether it stays so, with what our shim holds, over a thousand of them; and how soon
other calls are answered while an exec writes to a reader that has stopped."""

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
# Endless; `ctr` has taken it up when the first byte is there, then every buffer on the way fills.
FLOOD = ("sh", "-c", "exec cat /dev/zero")


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
        with progress.stage("stopped readers", FAILURES) as stage:
            _beside_stopped_readers(stage, containers, figures, runs)
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
            took_ms = containers.time_exec(name, f"run-{number}")
            if number:
                figures.exec_ms[kind].append(took_ms)


def _beside_stopped_readers(stage, containers, figures, runs):
    """Calls to the container, one after the other, both runtimes interleaved."""
    with contextlib.ExitStack() as stack:
        for name in NAMES.values():
            stack.enter_context(_stopped_reader(containers, name))
        for number in range(runs + 1):
            stage.show(f"{number} of {runs}" if number else "warming up")
            for kind, name in NAMES.items():
                for call, arguments in (
                        ("state", ("tasks", "ls")),
                        # Its init handles no signal: this one changes nothing.
                        ("kill", ("tasks", "kill", "-s", "SIGWINCH", name)),
                        ("exec", ("tasks", "exec", "--exec-id", f"beside-{number}", name, "true")),
                        ("stats", ("tasks", "metrics", name))):
                    began = time.perf_counter()
                    containers.ctr(*arguments)
                    if number:
                        figures.beside_ms[call][kind].append((time.perf_counter() - began) * 1000)


@contextlib.contextmanager
def _stopped_reader(containers, name):
    """An exec in the container that floods its stdout, of which nothing is read after a byte."""
    argv = containers.ctr_argv("tasks", "exec", "--exec-id", "flood", name, *FLOOD)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, bufsize=0) as flood:
        try:
            flood.stdout.read(1)
            yield
        finally:
            containers.ctr("tasks", "kill", "--exec-id", "flood", "-s", "SIGKILL", name)
            flood.kill()


def _in_a_row(stage, containers, figures, count):
    """In our container alone; after each block, what its shim holds."""
    figures.usage_before = usage.of_shim(NAMES["kata"])
    for first in range(0, count, BLOCK):
        stage.show(f"{first} of {count}")
        size = min(BLOCK, count - first)
        took_ms = [containers.time_exec(NAMES["kata"], f"row-{first + number}")
                   for number in range(size)]
        figures.blocks.append(Block(first + size, took_ms, usage.of_shim(NAMES["kata"])))
