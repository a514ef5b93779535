"""containerd's Tasks service by gRPC: what ctr 1.6 has no command for."""

import json
from pathlib import Path

import grpc

from .protos import compile_proto

PROTO = Path(__file__).with_name("tasks.proto")
SERVICE = "containerd.services.tasks.v1.Tasks"
CALL_DEADLINE_S = 150
# A call that the state of its process or container does not allow: of runc's shim, and of ours, which
# gives it the code that containerd's errdefs has for it.
WRONG_STATE = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.FAILED_PRECONDITION)
TYPE_URL = "types.containerd.io/opencontainers/runtime-spec/1/"
# Request and answer of each method.
METHODS = {
    "Exec": ("ExecProcessRequest", "Empty"), "Start": ("ProcessRequest", "StartResponse"),
    "DeleteProcess": ("ProcessRequest", "DeleteResponse"), "Get": ("ProcessRequest", "GetResponse"),
    "Wait": ("ProcessRequest", "WaitResponse"), "Kill": ("KillRequest", "Empty"),
    "Pause": ("ContainerRequest", "Empty"), "Resume": ("ContainerRequest", "Empty"),
    "ListPids": ("ContainerRequest", "ListPidsResponse"),
    "ResizePty": ("ResizePtyRequest", "Empty"), "CloseIO": ("CloseIORequest", "Empty"),
    "Checkpoint": ("CheckpointTaskRequest", "Empty"), "Update": ("UpdateTaskRequest", "Empty"),
    "Metrics": ("MetricsRequest", "MetricsResponse"),
}


class Tasks:
    """tasks.call("Kill", container_id="c", signal=9): the answer, or grpc.RpcError."""

    def __init__(self, address, namespace, directory):
        """directory: for the Python code that protoc makes of tasks.proto."""
        self.messages = compile_proto(PROTO, directory)
        self._channel = grpc.insecure_channel(f"unix:{address}")
        self._metadata = [("containerd-namespace", namespace)]

    def close(self):
        self._channel.close()

    def call(self, method, deadline_s=CALL_DEADLINE_S, **fields):
        request, answer = (getattr(self.messages, name) for name in METHODS[method])
        stub = self._channel.unary_unary(f"/{SERVICE}/{method}",
                                         request_serializer=request.SerializeToString,
                                         response_deserializer=answer.FromString)
        return stub(request(**fields), timeout=deadline_s, metadata=self._metadata)

    def error(self, method, **fields):
        """(code, message) of a call that fails; None when it does not."""
        try:
            self.call(method, **fields)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return None

    def update(self, container, **resources):
        """resources: of the OCI specification's linux.resources."""
        return self.call("Update", container_id=container,
                         resources=oci("LinuxResources", resources))

    def exec(self, container, exec_id, process, **streams):
        """process: of the OCI specification; streams: stdin=…, terminal=…"""
        return self.call("Exec", container_id=container, exec_id=exec_id,
                         spec=oci("Process", process), **streams)


def oci(name, value):
    """An object of the OCI runtime-spec as containerd packs it."""
    return {"type_url": TYPE_URL + name, "value": json.dumps(value).encode()}
