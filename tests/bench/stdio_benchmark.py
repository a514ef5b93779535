"""`tools/bench stdio`: how fast the bytes of a container's stdout reach a reader of `ctr run`, with our
runtime and with runc, beside a bare vsock connection from a guest; interleaved."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

import floor
import pods
from guest_image import GuestImageError
from private_containerd import ContainerdError
from stdio_report import StdioFigures

CHUNK = 1 << 20
TIMEOUT_S = 600


class Incomplete(Exception):
    """Not every byte has arrived."""


FAILURES = (ContainerdError, GuestImageError, floor.FloorError, subprocess.SubprocessError, Incomplete)


def run(progress, build, runs, mib, json_path):
    figures = StdioFigures(mib, load_before=os.getloadavg()[0])
    with contextlib.ExitStack() as stack:
        with progress.stage("containerd", FAILURES):
            containers = stack.enter_context(contextlib.closing(pods.Pods(build)))
        with progress.stage("floor", FAILURES):
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="kata-bench-"))
            floor_argv = [build.vsock_floor, sockets, str(mib), *_floor_vm(build, containers)]
        with progress.stage("runs", FAILURES) as stage:
            _measure(stage, floor_argv, containers, figures, runs)
    progress.finish()
    print(figures.report())
    if json_path:
        json_path.write_text(json.dumps(figures.to_json(), indent=2) + "\n")


def _floor_vm(build, containers):
    qemu = floor.qemu_argv(containers.idle_processes(pods.KATA))
    return floor.command_line(qemu, floor.write_initramfs_with_modules(
        pods.DIRECTORY / "vsock-floor.img", build.vsock_floor_init, build.guest))


def _measure(stage, floor_argv, containers, figures, runs):
    """The first round warms the caches and does not count."""
    for number in range(runs + 1):
        stage.show(f"{number} of {runs}" if number else "warming up")
        took = {"floor": _time(floor_argv, figures.mib)}
        for kind, runtime in (("kata", pods.KATA), ("runc", pods.RUNC)):
            took[kind] = _time(containers.run_argv(
                runtime, f"kata-bench-stdio-{kind}-{number}", "dd", "if=/dev/zero", "bs=1M",
                f"count={figures.mib}"), figures.mib)
        if number:
            for kind, milliseconds in took.items():
                figures.took_ms.setdefault(kind, []).append(milliseconds)


def _time(argv, mib):
    """From the first byte to the last, in milliseconds."""
    buffer = bytearray(CHUNK)
    received, first, last = 0, None, None
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process:
        while count := process.stdout.readinto1(buffer):
            last = time.perf_counter()
            first = first or last
            received += count
        status = process.wait(TIMEOUT_S)
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if status != 0 or received != mib << 20:
        raise Incomplete(f"{' '.join(map(str, argv))} ended with status {status} after {received} of "
                         f"{mib << 20} bytes: {said[-500:]}")
    return (last - first) * 1000
