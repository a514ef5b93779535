"""containerd's sandbox Controller service by gRPC: ctr 2.1 stores sandboxes, but starts none."""

from pathlib import Path

from .grpc_service import GrpcService
from .protos import compile_proto

PROTO = Path(__file__).with_name("sandboxes.proto")
SERVICE = "containerd.services.sandbox.v1.Controller"


class Sandboxes(GrpcService):
    """sandboxes.call("Start", "pod"): the answer, or grpc.RpcError. Sandboxes are of the shim's."""

    def __init__(self, address, namespace, directory):
        """directory: for the Python code that protoc makes of sandboxes.proto."""
        super().__init__(address, namespace, SERVICE)
        self._messages = compile_proto(PROTO, directory)

    def create(self, sandbox_id, runtime):
        """Of a sandbox that ctr has stored."""
        return self.call("Create", sandbox_id, sandbox={"sandbox_id": sandbox_id,
                                                     "runtime": {"name": runtime}})

    def call(self, method, sandbox_id, **fields):
        request = getattr(self._messages, f"Controller{method}Request",
                          self._messages.ControllerRequest)
        answer = getattr(self._messages, f"Controller{method}Response", self._messages.Answer)
        return self.invoke(method, request(sandbox_id=sandbox_id, sandboxer="shim", **fields),
                           answer)
