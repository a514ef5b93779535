"""A shim without a containerd in front of it: started, asked and cleaned up after as containerd 2
does for the sandbox API, which containerd 1.6 does not speak."""

import importlib
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from oci_image import BUSYBOX

PROTO = Path(__file__).resolve().parents[3] / "proto"
CALL_DEADLINE_S = 150
SANDBOX = "containerd.runtime.sandbox.v1.Sandbox"
TASK = "containerd.task.v3.Task"
# Module of the messages, and their names where they are not <method>Request and <method>Response.
MODULES = {SANDBOX: "sandbox", TASK: "task"}
REQUESTS = {"PingSandbox": "PingRequest", "Create": "CreateTaskRequest",
            "Exec": "ExecProcessRequest", "Update": "UpdateTaskRequest"}
ANSWERS = {"PingSandbox": "PingResponse", "Create": "CreateTaskResponse"}
NO_ANSWER = ("Kill", "Shutdown", "Exec", "Update")
# ttrpc (PROTOCOL.md): length of the data, stream, type, flags.
HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE = 1, 2
NOT_FOUND, FAILED_PRECONDITION, CANCELLED = 5, 9, 1


class ShimError(Exception):
    """A call's status other than OK."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Messages:
    """The repository's own proto files as Python: messages.sandbox.StartSandboxRequest…"""

    def __init__(self, directory):
        """directory: for the code that protoc makes; stays in Python's path."""
        directory.mkdir()
        files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("containerd/*.proto"))
        subprocess.run(["protoc", f"--proto_path={PROTO}", f"--python_out={directory}", *files],
                       check=True)
        sys.path.insert(0, str(directory))
        for name in ("ttrpc", "sandbox", "task", "cgroup_metrics", "pod_sandbox_config"):
            setattr(self, name, importlib.import_module(f"containerd.{name}_pb2"))


class Shim:
    """One sandbox's. A call waits for its answer; begin() and finish() leave one open meanwhile."""

    def __init__(self, messages, binary, environment, flags, sandbox_id, bundle):
        """flags: -namespace and -address. The bundle is made; it has no config.json."""
        self.id = sandbox_id
        self.bundle = bundle
        self._messages = messages
        self._command = [str(binary), *flags, "-id", sandbox_id]
        self._environment = environment
        self._socket = None
        self._next_stream = 1
        self._answers = {}
        bundle.mkdir(parents=True)

    @property
    def pid(self):
        return int((self.bundle / "shim.pid").read_text())

    def start(self):
        """The start action, then a connection to where it says."""
        shown = self._run(["start"], stderr=subprocess.STDOUT)
        assert shown.returncode == 0, shown.stdout
        answer = json.loads(shown.stdout)
        assert (answer["version"], answer["protocol"]) == (3, "ttrpc")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(answer["address"].removeprefix("unix://"))

    def start_error(self):
        shown = self._run(["start"], stderr=subprocess.STDOUT)
        assert shown.returncode != 0, shown.stdout
        return shown.stdout.decode()

    def delete(self):
        """The delete action, what containerd calls when its connection has ended: its answer."""
        shown = self._run(["-bundle", str(self.bundle), "delete"], stderr=subprocess.PIPE)
        assert shown.returncode == 0, shown.stderr
        return self._messages.task.DeleteResponse.FromString(shown.stdout)

    def close(self):
        if self._socket:
            self._socket.close()
        shutil.rmtree(self.bundle)

    def sandbox(self, method, **fields):
        return self.finish(self.begin(SANDBOX, method, sandbox_id=self.id, **fields))

    def task(self, method, **fields):
        return self.finish(self.begin(TASK, method, **fields))

    def error(self, method, **fields):
        """The code of a sandbox call that fails; None when it does not."""
        try:
            self.sandbox(method, **fields)
        except ShimError as error:
            return error.code
        return None

    def begin(self, service, method, **fields):
        module = getattr(self._messages, MODULES[service])
        request = getattr(module, REQUESTS.get(method, f"{method}Request"))(**fields)
        data = self._messages.ttrpc.Request(service=service, method=method,
                                            payload=request.SerializeToString())
        data = data.SerializeToString()
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._socket.sendall(HEADER.pack(len(data), stream, REQUEST, 0) + data)
        answer = None if method in NO_ANSWER else getattr(
            module, ANSWERS.get(method, f"{method}Response"))
        return stream, answer

    def finish(self, call, deadline_s=CALL_DEADLINE_S):
        stream, answer = call
        end = time.monotonic() + deadline_s
        while stream not in self._answers:
            length, of_stream, kind, _ = HEADER.unpack(self._read(HEADER.size, end))
            assert kind == RESPONSE
            self._answers[of_stream] = self._messages.ttrpc.Response.FromString(
                self._read(length, end))
        response = self._answers.pop(stream)
        if response.status.code:
            raise ShimError(response.status.code, response.status.message)
        return answer and answer.FromString(response.payload)

    def _read(self, size, end):
        data = b""
        while len(data) < size:
            ready = select.select([self._socket], [], [], max(0, end - time.monotonic()))[0]
            assert ready, "the shim does not answer"
            chunk = self._socket.recv(size - len(data))
            assert chunk, "the shim has closed the connection"
            data += chunk
        return data

    def _run(self, arguments, stderr):
        return subprocess.run([*self._command, *arguments], env=self._environment, cwd=self.bundle,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                              timeout=CALL_DEADLINE_S, check=False)


def container_bundle(directory, *command):
    """A bundle with a busybox as its root, without a snapshotter's mounts."""
    root = directory / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    os.link(root / "bin/busybox", root / "bin/sh")
    process = {"args": list(command), "cwd": "/", "user": {"uid": 0, "gid": 0},
               "env": ["PATH=/bin"]}
    spec = {"ociVersion": "1.0.2", "process": process, "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]}}
    (directory / "config.json").write_text(json.dumps(spec))
    return directory
