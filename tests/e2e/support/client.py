"""ctr, bound to one runtime: what a user of containerd does."""

import os
import re
import select
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass

from oci_image import BUSYBOX_IMAGE

from .terminal import Terminal

# containerd's, and with it the name of the parent cgroup: one for each session.
NAMESPACE = f"e2e-{os.getpid()}"
# A boot under TCG takes about 5 s; on a machine that also compiles, a minute.
CALL_DEADLINE_S = 150
# runc's shim tells of a process's end before it has handed on all that the process has written, and
# ctr then takes its FIFOs away: on a busy machine the last words of the reference are lost (1 of 150).
# A ctr that has time lets the shim come first. Ours tells when the client has read everything.
PREFIXES = {"io.containerd.runc.v2": ("nice", "-n", "19")}


@dataclass(frozen=True)
class Outcome:
    """How a command of a client ended. Printed by a failing assertion."""
    command: tuple
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self):
        return self.stdout.decode(errors="replace")

    @property
    def error(self):
        return self.stderr.decode(errors="replace")

    def __str__(self):
        return (f"$ {shlex.join(self.command)}\nstatus {self.status}\n"
                f"stdout: {_clipped(self.text)}\nstderr: {_clipped(self.error)}")


class Client:
    """Ids given out by new_id() are unique in the session; everything else is ctr's."""

    _ids_given = 0

    def __init__(self, containerd, runtime_name, runtime_type):
        self.containerd = containerd
        self.name = runtime_name
        self.type = runtime_type
        self._prefix = PREFIXES.get(runtime_type, ())
        self._background = []

    def on(self, containerd):
        """The same runtime under another containerd."""
        return Client(containerd, self.name, self.type)

    def new_id(self):
        Client._ids_given += 1
        return f"{self.name}-{os.getpid()}-{Client._ids_given}"

    def ctr(self, *args, input=None, deadline_s=CALL_DEADLINE_S):
        """Any command of ctr, to its end. TimeoutExpired when it does not end."""
        done = self.containerd.ctr(*args, namespace=NAMESPACE, check=False, timeout=deadline_s,
                                   prefix=self._prefix, text=False,
                                   **({} if input is None else {"input": input}))
        return Outcome(("ctr", *map(str, args)), done.returncode, done.stdout, done.stderr)

    def run(self, *command, flags=(), image=BUSYBOX_IMAGE, container=None, input=None,
            deadline_s=CALL_DEADLINE_S):
        """ctr run --rm: the container's exit code is the status."""
        return self.ctr(*self._run_args(("--rm", *flags), image, container, command), input=input,
                        deadline_s=deadline_s)

    def sh(self, script, **options):
        """run() of a shell script."""
        return self.run("sh", "-c", script, **options)

    def run_spec(self, spec_file, container=None):
        """ctr run --rm --config: the specification names command and root directory."""
        return self.ctr(*self._spec_args("--rm", spec_file, container or self.new_id()))

    def start_spec(self, spec_file):
        """ctr run --detach --config: as start()."""
        container = self.new_id()
        outcome = self.ctr(*self._spec_args("--detach", spec_file, container))
        assert outcome.status == 0, outcome
        return container

    def spec_session(self, spec_file):
        """run_spec() in the background, as session()."""
        container = self.new_id()
        return self._session(container, container, self._spec_args("--rm", spec_file, container))

    def start(self, *command, flags=()):
        """ctr run --detach: the id of a running container, which the test removes."""
        container = self.new_id()
        outcome = self.ctr(*self._run_args(("--detach", *flags), BUSYBOX_IMAGE, container, command))
        assert outcome.status == 0, outcome
        return container

    def remove(self, container):
        """Ends the task, if there is one, and forgets the container and its snapshot."""
        self.ctr("tasks", "rm", "-f", container)
        removed = self.ctr("containers", "rm", container)
        assert removed.status == 0, removed

    def session(self, *command, flags=()):
        """ctr run --rm in the background, with pipes at its stdio. For `with`."""
        container = self.new_id()
        return self._session(container, container, self._run_args(("--rm", *flags), BUSYBOX_IMAGE,
                                                                  container, command))

    def exec(self, container, *command, flags=(), exec_id=None, input=None,
             deadline_s=CALL_DEADLINE_S):
        """ctr tasks exec: the exit code of the command is the status."""
        return self.ctr(*self._exec_args(flags, container, exec_id, command), input=input,
                        deadline_s=deadline_s)

    def exec_sh(self, container, script, **options):
        """exec() of a shell script."""
        return self.exec(container, "sh", "-c", script, **options)

    def exec_session(self, container, *command, flags=(), exec_id=None):
        """ctr tasks exec in the background, with pipes at its stdio. For `with`."""
        exec_id = exec_id or self.new_id()
        return self._session(container, exec_id,
                             self._exec_args(flags, container, exec_id, command))

    def attach(self, container):
        """ctr tasks attach in the background, with pipes at its stdio. For `with`."""
        return self._session(container, container, ("tasks", "attach", container))

    def terminal(self, *command, flags=(), size=(24, 80)):
        """ctr run --rm --tty under a terminal of (rows, columns). For `with`."""
        container = self.new_id()
        return self._terminal(container, container, self._run_args(
            ("--rm", "--tty", *flags), BUSYBOX_IMAGE, container, command), size)

    def exec_terminal(self, container, *command, flags=(), size=(24, 80)):
        """ctr tasks exec --tty under a terminal of (rows, columns). For `with`."""
        exec_id = self.new_id()
        return self._terminal(container, exec_id, self._exec_args(
            ("--tty", *flags), container, exec_id, command), size)

    def create_args(self, container, command):
        return ("containers", "create", "--runtime", self.type, BUSYBOX_IMAGE, container, "--",
                *command)

    def task_rows(self):
        """(id, pid, status) of `ctr tasks ls`."""
        rows = self.ctr("tasks", "ls").text.splitlines()[1:]
        return [(fields[0], int(fields[1]), fields[2]) for fields in map(str.split, rows)]

    def task_processes(self, container):
        """{pid: exec id or None} of `ctr tasks ps`."""
        shown = self.ctr("tasks", "ps", container)
        assert shown.status == 0, shown
        rows = [row.split(maxsplit=1) for row in shown.text.splitlines()[1:]]
        return {int(pid): (found := re.search(r"ExecID:([^,]*),", info)) and found.group(1)
                for pid, info in rows}

    def close(self):
        for session in self._background:
            session.abandon()

    def _session(self, container, process_id, args):
        return self._keep(Session(container, process_id, self._ctr_argv(args)))

    def _terminal(self, container, process_id, args, size):
        return self._keep(Terminal(container, process_id, self._ctr_argv(args), size))

    def _ctr_argv(self, args):
        return [*self._prefix, *self.containerd.ctr_argv(*args, namespace=NAMESPACE)]

    def _keep(self, session):
        self._background.append(session)
        return session

    def _exec_args(self, flags, container, exec_id, command):
        return ("tasks", "exec", "--exec-id", exec_id or self.new_id(), *flags, container, *command)

    def _spec_args(self, flag, spec_file, container):
        return ("run", flag, "--runtime", self.type, "--config", spec_file, container)

    def _run_args(self, flags, image, container, command):
        return ("run", "--runtime", self.type, *flags, image, container or self.new_id(), *command)


class Session:
    """A `ctr run` or `ctr tasks exec` that goes on while the test looks at the host.

    process_id: what events call the process, the exec's id or the container's own."""

    def __init__(self, container, process_id, argv):
        self.container = container
        self.process_id = process_id
        self._argv = argv
        self._stderr = tempfile.TemporaryFile()
        self._output = b""
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self._stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.abandon()

    def read_until(self, line, deadline_s=CALL_DEADLINE_S):
        """The lines of stdout before `line`. AssertionError when the output ends or stops first."""
        end = time.monotonic() + deadline_s
        marker = f"{line}\n".encode()
        while marker not in self._output:
            remaining = end - time.monotonic()
            ready = remaining > 0 and select.select([self.process.stdout], [], [], remaining)[0]
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert chunk, f"no line {line!r} within {deadline_s} s; {self._so_far()}"
            self._output += chunk
        before, self._output = self._output.split(marker, 1)
        return before.decode(errors="replace").splitlines()

    def fill_stdin(self, quiet_s=1):
        """Writes until for so long nothing more is taken."""
        stdin = self.process.stdin.fileno()
        os.set_blocking(stdin, False)
        while select.select([], [stdin], [], quiet_s)[1]:
            os.write(stdin, bytes(4096))

    def drain(self, quiet_s):
        """What has arrived when nothing has come for so long; read_until() sees none of it."""
        while select.select([self.process.stdout], [], [], quiet_s)[0]:
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                break
            self._output += chunk
        drained, self._output = self._output, b""
        return drained

    def finish(self, deadline_s=CALL_DEADLINE_S):
        """Closes stdin and waits for the end; stdout holds what read_until() has not taken."""
        rest, _ = self.process.communicate(timeout=deadline_s)
        return Outcome(tuple(self._argv), self.process.returncode, self._output + rest,
                       self._errors())

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _so_far(self):
        return f"stdout: {_clipped(self._output.decode(errors='replace'))}\n" \
               f"stderr: {_clipped(self._errors().decode(errors='replace'))}"

    def _errors(self):
        self._stderr.seek(0)
        return self._stderr.read()


def _clipped(text, limit=4000):
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
