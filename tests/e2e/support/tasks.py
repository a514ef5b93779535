"""containerd's Tasks service by gRPC: what ctr 1.6 has no command for."""

import json
from pathlib import Path

import grpc

from .grpc_service import CALL_DEADLINE_S, GrpcService
from .protos import compile_proto

PROTO = Path(__file__).with_name("tasks.proto")
SERVICE = "containerd.services.tasks.v1.Tasks"
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


class Tasks(GrpcService):
    """tasks.call("Kill", container_id="c", signal=9): the answer, or grpc.RpcError."""

    def __init__(self, address, namespace, directory):
        """directory: for the Python code that protoc makes of tasks.proto."""
        super().__init__(address, namespace, SERVICE)
        self.messages = compile_proto(PROTO, directory)

    def call(self, method, deadline_s=CALL_DEADLINE_S, **fields):
        request, answer = (getattr(self.messages, name) for name in METHODS[method])
        return self.invoke(method, request(**fields), answer, deadline_s)

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
