"""A command whose output is timed."""

import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass

CHUNK = 1 << 20
# Only ends what hangs: a machine under load is slow, and that shows in the figures.
DEADLINE_S = 600


class CommandFailed(Exception):
    """The command has not ended well; says what it printed."""


@dataclass(frozen=True)
class TimedOutput:
    began: float       # seconds since the epoch
    first_ms: float    # to the first byte of stdout; the same as total_ms when there is none
    last_ms: float     # … to the last byte
    total_ms: float    # … to the end
    size: int          # bytes of stdout
    stdout: bytes      # … the first CHUNK of them


def run(argv):
    argv = [str(argument) for argument in argv]
    began_epoch, began = time.time(), time.perf_counter()
    times, size, head = [], 0, bytearray()
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process:
        try:
            for chunk in chunks(process.stdout.fileno(), argv):
                times = [times[0] if times else time.perf_counter(), time.perf_counter()]
                size += len(chunk)
                head += chunk[:CHUNK - len(head)]
            status = process.wait(DEADLINE_S)
        except BaseException:
            process.kill()
            raise
        ended = time.perf_counter()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if status != 0:
        raise CommandFailed(f"{' '.join(argv)} ended with status {status} after {size} bytes: "
                            f"{said[-500:]}")
    first, last = times or (ended, ended)
    return TimedOutput(began_epoch, *((moment - began) * 1000 for moment in (first, last, ended)),
                       size, bytes(head))


def chunks(stdout, argv):
    """What comes out of the descriptor until its other end is closed; a chunk is valid until the
    next one."""
    deadline = time.monotonic() + DEADLINE_S
    buffer = bytearray(CHUNK)
    with select.epoll() as readable:
        readable.register(stdout, select.EPOLLIN)
        while True:
            if not readable.poll(max(0, deadline - time.monotonic())):
                raise subprocess.TimeoutExpired(argv, DEADLINE_S)
            count = os.readv(stdout, [buffer])
            if not count:
                return
            yield memoryview(buffer)[:count]
