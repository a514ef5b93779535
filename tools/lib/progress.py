"""Progress of a tool that works in stages: each by name with the time it took, its output in a log
file, and a clear end.

    progress = Progress("quickstart", log_directory)
    with progress.stage("build") as stage:
        stage.run(["ninja", "-C", directory])
    progress.finish()

A failure inside a stage ends the program with status 1 and names the stage, the cause and the log's
last lines.
"""

import contextlib
import os
import selectors
import shutil
import subprocess
import sys
import time

LOG_TAIL_LINES = 25
HEARTBEAT_S = 30
NAME_COLUMNS = 20
LINE_COLUMNS = 90


class CommandFailed(Exception):
    pass


class Progress:
    def __init__(self, tool, log_directory):
        self._tool = tool
        self._log_directory = log_directory
        self._began = time.monotonic()
        self._times = []

    @contextlib.contextmanager
    def stage(self, name, failures=(CommandFailed,)):
        """`failures`: exception types whose text is enough for the user; others keep their trace."""
        log_path = self._log_directory / f"{name.replace(' ', '-')}.log"
        began = time.monotonic()
        with self._open_log(log_path) as log:
            stage = Stage(name, log, began)
            try:
                yield stage
            except (CommandFailed, *failures) as error:
                log.flush()
                stage.show(f"FAILED after {time.monotonic() - began:.1f} s", last=True)
                self._report_failure(name, error, log_path)
                sys.exit(1)
        seconds = time.monotonic() - began
        self._times.append((name, seconds))
        stage.show(f"{seconds:6.1f} s", last=True)

    def finish(self):
        total = time.monotonic() - self._began
        print(f"{self._tool}: done in {total:.1f} s "
              f"({', '.join(f'{name} {seconds:.1f}' for name, seconds in self._times)})", flush=True)

    def _open_log(self, path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "wb")
        except PermissionError:
            sys.exit(f"{self._tool}: cannot write {path}: another user has used this tree; "
                     "go on as that user, or remove build/")

    def _report_failure(self, name, error, log_path):
        tail = log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        sys.stdout.flush()
        if tail:
            print(f"\nThe end of {log_path}:", *tail, sep="\n  ", file=sys.stderr)
        print(f"\n{self._tool}: stage '{name}' failed: {error}", file=sys.stderr, flush=True)


class Stage:
    def __init__(self, name, log, began):
        self._name = name
        self._log = log
        self._began = began
        self._terminal = sys.stdout.isatty()
        self._last_line = ""
        self._heartbeat_due = began + HEARTBEAT_S
        if self._terminal:
            self.show("...")

    def show(self, state, last=False):
        """The stage's line: rewritten in place on a terminal, else one line each."""
        line = f"{self._name:<{NAME_COLUMNS}}{state}"
        if self._terminal:
            columns = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:columns]}", end="\n" if last else "", flush=True)
        else:
            print(line, flush=True)

    def run(self, command, *, check=True, echo=False, **popen_options):
        """Runs a command with its output in the log, and on the screen too with `echo`. Returns its
        exit status; with `check` a status other than 0 raises CommandFailed."""
        words = [str(word) for word in command]
        self._log.write(f"$ {' '.join(words)}\n".encode())
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, **popen_options)
        except FileNotFoundError as error:
            raise CommandFailed(f"{words[0]} is not installed") from error
        try:
            self._follow(process.stdout, echo)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()
            status = process.wait()
        if check and status != 0:
            raise CommandFailed(f"{os.path.basename(words[0])} ended with status {status}")
        return status

    def _follow(self, output, echo):
        partial = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, self._heartbeat_due - time.monotonic())):
                    self._heartbeat()
                    continue
                chunk = os.read(output.fileno(), 1 << 16)
                if not chunk:
                    break
                self._log.write(chunk)
                *lines, partial = (partial + chunk).replace(b"\r", b"\n").split(b"\n")
                self._display(lines, echo)
        self._display([partial], echo)
        self._log.flush()

    def _display(self, lines, echo):
        shown = [line.decode(errors="replace") for line in lines if line]
        if not shown:
            return
        self._last_line = shown[-1]
        if echo:
            print(*(("\r\033[K" if self._terminal else "") + f"  {line}" for line in shown),
                  sep="\n", flush=True)
            self._heartbeat_due = time.monotonic() + HEARTBEAT_S
        elif self._terminal:
            self.show(f"{time.monotonic() - self._began:6.0f} s  {self._last_line}")
        elif time.monotonic() >= self._heartbeat_due:
            self._heartbeat()

    def _heartbeat(self):
        """Where nothing rewrites the line, a sign of life now and then."""
        self._heartbeat_due = time.monotonic() + HEARTBEAT_S
        self.show(f"{time.monotonic() - self._began:6.0f} s  {self._last_line[:LINE_COLUMNS]}".rstrip())
