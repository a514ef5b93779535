"""`tools/bench stdio`: how fast the bytes of a container's stdout reach a reader of `ctr run`, with our
runtime and with runc, beside a bare vsock connection from a guest; interleaved."""

import contextlib
import json
import os
import subprocess
import tempfile

import floor
import pods
import timed_output
from guest_image import GuestImageError
from private_containerd import ContainerdError
from stdio_report import StdioFigures


class Incomplete(Exception):
    """Not every byte has arrived."""


FAILURES = (ContainerdError, GuestImageError, floor.FloorError, subprocess.SubprocessError,
            timed_output.CommandFailed, Incomplete)


def run(progress, build, runs, mib, json_path):
    figures = StdioFigures(mib, load_before=os.getloadavg()[0])
    with contextlib.ExitStack() as stack:
        with progress.stage("containerd", FAILURES):
            containers = stack.enter_context(contextlib.closing(pods.Pods(build)))
        with progress.stage("floor", FAILURES):
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="kata-bench-"))
            runtime_argv = floor.qemu_argv(containers.idle_processes(pods.KATA))
            argv = floor_argv(build, sockets, mib, runtime_argv)
        with progress.stage("runs", FAILURES) as stage:
            _measure(stage, argv, containers, figures, runs)
    progress.finish()
    print(figures.report())
    if json_path:
        json_path.write_text(json.dumps(figures.to_json(), indent=2) + "\n")


def _measure(stage, argv, containers, figures, runs):
    """The first round warms the caches and does not count."""
    for number in range(runs + 1):
        stage.show(f"{number} of {runs}" if number else "warming up")
        took = {"floor": time_stream(argv, figures.mib)}
        for kind, runtime in (("kata", pods.KATA), ("runc", pods.RUNC)):
            took[kind] = time_stream(container_argv(
                containers, runtime, f"kata-bench-stdio-{kind}-{number}", figures.mib), figures.mib)
        if number:
            for kind, milliseconds in took.items():
                figures.took_ms.setdefault(kind, []).append(milliseconds)


def time_stream(argv, mib):
    """From the first byte to the last, in milliseconds."""
    output = timed_output.run(argv)
    if output.size != mib << 20:
        raise Incomplete(f"{' '.join(map(str, argv))} has brought {output.size} of {mib << 20} bytes")
    return output.last_ms - output.first_ms


def container_argv(containers, runtime, name, mib):
    return containers.run_argv(runtime, name, "dd", "if=/dev/zero", "bs=1M", f"count={mib}")


def floor_argv(build, sockets, mib, runtime_argv):
    """sockets: a directory with a short path; runtime_argv: of a QEMU of our runtime."""
    initramfs = floor.write_initramfs_with_modules(pods.DIRECTORY / "vsock-floor.img",
                                                   build.vsock_floor_init, build.guest)
    return [build.vsock_floor, sockets, str(mib), *floor.command_line(runtime_argv, initramfs)]
