"""containerd's CRI plugin, asked as kubelet asks it."""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from .grpc_service import CALL_DEADLINE_S, GrpcService
from .protos import compile_proto
from .streams import ForwardedPort, ProcessStreams

PROTO = Path(__file__).with_name("cri.proto")
SERVICE = "runtime.v1.RuntimeService"
# containerd's, of everything that CRI makes.
NAMESPACE = "k8s.io"
READY, RUNNING, EXITED = 0, 1, 2
POD, CONTAINER, NODE = 0, 1, 2
# Request and answer of each method.
METHODS = {
    "RunPodSandbox": ("RunPodSandboxRequest", "PodRequest"),
    "StopPodSandbox": ("PodRequest", "Empty"), "RemovePodSandbox": ("PodRequest", "Empty"),
    "PodSandboxStatus": ("PodRequest", "PodSandboxStatusResponse"),
    "CreateContainer": ("CreateContainerRequest", "ContainerRequest"),
    "StartContainer": ("ContainerRequest", "Empty"),
    "StopContainer": ("StopContainerRequest", "Empty"),
    "RemoveContainer": ("ContainerRequest", "Empty"),
    "ContainerStatus": ("ContainerRequest", "ContainerStatusResponse"),
    "ContainerStats": ("ContainerRequest", "ContainerStatsResponse"),
    "UpdateContainerResources": ("UpdateContainerResourcesRequest", "Empty"),
    "ExecSync": ("ExecSyncRequest", "ExecSyncResponse"),
    "ReopenContainerLog": ("ContainerRequest", "Empty"),
    "PodSandboxStats": ("PodRequest", "PodSandboxStatsResponse"),
    "Exec": ("ExecRequest", "StreamsResponse"), "Attach": ("AttachRequest", "StreamsResponse"),
    "PortForward": ("PortForwardRequest", "StreamsResponse"),
}


def containerd_config(network_directory, pause_image, snapshotter):
    """For PrivateContainerd: CRI with the handlers runc and kata, and CNI's plugins of Debian."""
    table = '[plugins."io.containerd.grpc.v1.cri"'
    runtimes = "".join(f'{table}.containerd.runtimes.{name}]\n  runtime_type = "io.containerd.{name}.v2"\n'
                       '  pod_annotations = ["io.katacontainers.*"]\n'
                       for name in ("runc", "kata"))
    return (f'{table}]\n  sandbox_image = "{pause_image}"\n  disable_apparmor = true\n'
            '  restrict_oom_score_adj = true\n'
            '  stream_server_address = "127.0.0.1"\n  stream_server_port = "0"\n'
            f'{table}.cni]\n  bin_dir = "/usr/lib/cni"\n  conf_dir = {json.dumps(str(network_directory))}\n'
            f'{table}.containerd]\n  snapshotter = "{snapshotter}"\n  default_runtime_name = "runc"\n'
            f"{runtimes}")


@dataclass(frozen=True)
class Ran:
    status: int
    text: str
    error: str


class Cri(GrpcService):
    """Calls of the runtime service; pods and containers as objects."""

    def __init__(self, address, directory, image, node):
        """directory: for the Python code of cri.proto, and logs. node: where containerd runs."""
        super().__init__(address, NAMESPACE, SERVICE)
        self.messages = compile_proto(PROTO, directory / "cri-proto")
        self.image = image
        self.node = node
        self.logs = directory / "pod-logs" / Path(address).parent.name
        self._numbers = itertools.count()

    def call(self, method, deadline_s=CALL_DEADLINE_S, **fields):
        request, answer = (getattr(self.messages, name) for name in METHODS[method])
        return self.invoke(method, request(**fields), answer, deadline_s)

    def run_pod(self, handler, pid=CONTAINER, network=POD, **config):
        """config: of PodSandboxConfig."""
        name = f"pod{next(self._numbers)}"
        linux = {"security_context": {"namespace_options": {"pid": pid, "network": network}},
                 **config.pop("linux", {})}
        config = {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": "tests"},
                  "hostname": name, "log_directory": str(self.logs / name), "linux": linux, **config}
        answer = self.call("RunPodSandbox", config=config, runtime_handler=handler)
        return Pod(self, answer.pod_sandbox_id, config, pid)


class Pod:
    def __init__(self, cri, pod_id, config, pid):
        self._cri = cri
        self.id = pod_id
        self.config = config
        self._pid = pid
        self._attempts = itertools.count()

    @property
    def status(self):
        return self._cri.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    @property
    def ip(self):
        return self.status.network.ip

    def stop(self):
        self._cri.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self):
        self._cri.call("RemovePodSandbox", pod_sandbox_id=self.id)

    def stats(self):
        return self._cri.call("PodSandboxStats", pod_sandbox_id=self.id).stats.linux

    def forward(self, port):
        """A connection to a port of the pod, as `kubectl port-forward` makes it."""
        url = self._cri.call("PortForward", pod_sandbox_id=self.id, port=[port]).url
        return ForwardedPort(self._cri.node, url, port)

    def create(self, *command, name="main", mounts=(), resources=None, **fields):
        """fields: of ContainerConfig."""
        attempt = next(self._attempts)
        config = {"metadata": {"name": name, "attempt": attempt},
                  "image": {"image": self._cri.image}, "command": command, "mounts": mounts,
                  "log_path": f"{name}-{attempt}.log",
                  "linux": {"resources": resources or {},
                            "security_context": {"namespace_options": {"pid": self._pid}}},
                  **fields}
        answer = self._cri.call("CreateContainer", pod_sandbox_id=self.id, config=config,
                                sandbox_config=self.config)
        return PodContainer(self._cri, answer.container_id,
                            Path(self.config["log_directory"]) / config["log_path"],
                            config.get("tty", False))

    def start(self, *command, **options):
        container = self.create(*command, **options)
        container.start()
        return container


class PodContainer:
    def __init__(self, cri, container_id, log, tty):
        self._cri = cri
        self.id = container_id
        self.log = log
        self._tty = tty

    @property
    def status(self):
        return self._cri.call("ContainerStatus", container_id=self.id).status

    def start(self):
        self._cri.call("StartContainer", container_id=self.id)

    def stop(self, timeout=0):
        self._cri.call("StopContainer", container_id=self.id, timeout=timeout)

    def remove(self):
        self._cri.call("RemoveContainer", container_id=self.id)

    def update(self, **resources):
        self._cri.call("UpdateContainerResources", container_id=self.id, linux=resources)

    def stats(self):
        return self._cri.call("ContainerStats", container_id=self.id).stats

    def sh(self, script):
        done = self._cri.call("ExecSync", container_id=self.id, cmd=["sh", "-c", script])
        return Ran(done.exit_code, done.stdout.decode(), done.stderr.decode())

    def exec(self, *command, tty=False):
        """Its streams, with stdin."""
        url = self._cri.call("Exec", container_id=self.id, cmd=command, tty=tty, stdin=True,
                             stdout=True, stderr=not tty).url
        return ProcessStreams(self._cri.node, url)

    def attach(self):
        """The streams of the container's own process."""
        url = self._cri.call("Attach", container_id=self.id, tty=self._tty, stdin=True,
                             stdout=True, stderr=not self._tty).url
        return ProcessStreams(self._cri.node, url)

    def reopen_log(self):
        self._cri.call("ReopenContainerLog", container_id=self.id)

    def log_entries(self):
        """Of each line of the log: stream, whether the line goes on in the next, and text."""
        return [parse_log_line(line) for line in self.log.read_text().splitlines()]


def parse_log_line(line):
    """CRI's format: the time in RFC 3339 with nanoseconds, stream, P(artial) or F(ull), text."""
    time, stream, tag, text = line.split(" ", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)", time), line
    assert tag in ("P", "F"), line
    return stream, tag == "P", text
