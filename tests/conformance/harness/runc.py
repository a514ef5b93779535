"""The reference: `runc run` on the bundle."""

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import tempfile
import termios
import tty
from pathlib import Path

from .answer import Answer, refusal

DEADLINE_S = 60
FAILED = re.compile("^(runc run|exec) failed: ")


class Runc:
    def __init__(self, directory):
        """directory: for its state."""
        self._directory = directory
        directory.mkdir()

    def run(self, container, bundle, row):
        log = bundle / "runc.log"
        try:
            if row.exec:
                return self._exec(container, bundle, row, log)
            argv = self._argv(log, "run", "--bundle", str(bundle), container)
            return _answer(log, *(_run_in_terminal(argv, row) if row.terminal else
                                  _run_with_pipes(argv)))
        finally:
            # A container that fails while it starts is not always deleted.
            subprocess.run(self._argv(log, "delete", "--force", container), check=False,
                           capture_output=True)

    def _exec(self, container, bundle, row, log):
        """The container's init has no streams that it could keep open."""
        steps = [self._argv(log, "run", "--detach", "--bundle", str(bundle), container)]
        if row.update is not None:
            resources = bundle / "resources.json"
            resources.write_text(json.dumps(row.update))
            steps.append(self._argv(log, "update", "--resources", str(resources), container))
        for argv in steps:
            status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL, check=False,
                                    timeout=DEADLINE_S).returncode
            if status != 0:
                return refusal(_errors(log)[-1])
        process = bundle / "process.json"
        process.write_text(json.dumps(row.exec))
        return _answer(log, *_run_with_pipes(
            self._argv(log, "exec", "--process", str(process), container)))

    def _argv(self, log, *words):
        return ["runc", "--root", str(self._directory), "--log", str(log), "--log-format", "json",
                *words]


def _run_with_pipes(argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=DEADLINE_S)
    return done.returncode, _text(done.stdout), _text(done.stderr)


def _run_in_terminal(argv, row):
    """runc gives the container's terminal the size of its own, so it runs in one of that size; raw
    from the start, since runc makes it so only after it has begun to copy what the container says."""
    size = row.config["process"].get("consoleSize", {})
    master, slave = os.openpty()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(os.close, master)
        tty.setraw(slave)
        fcntl.ioctl(slave, termios.TIOCSWINSZ,
                    struct.pack("HHHH", size.get("height", 0), size.get("width", 0), 0, 0))
        errors = cleanup.enter_context(tempfile.TemporaryFile())
        with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=errors,
                              start_new_session=True) as process:
            os.close(slave)
            output = _read_to_hang_up(master)
            process.wait(DEADLINE_S)
        errors.seek(0)
        return process.returncode, _text(output), _text(errors.read())


def _read_to_hang_up(master):
    """A pty's end is EIO."""
    output = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(master, 65536):
            output += chunk
    return output


def _answer(log, status, output, errors):
    """A program of the container may fail, too: what counts is why there was none."""
    failures = [FAILED.sub("", message) for message in _errors(log) if FAILED.match(message)]
    return refusal(failures[-1]) if failures else Answer(status, output, errors)


def _errors(log):
    lines = Path(log).read_text().splitlines() if log.exists() else []
    entries = [json.loads(line) for line in lines]
    return [entry["msg"] for entry in entries if entry["level"] == "error"]


def _text(data):
    return data.decode(errors="backslashreplace")
