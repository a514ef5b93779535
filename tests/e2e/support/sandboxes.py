"""containerd's sandbox Controller service by gRPC: ctr 2.1 stores sandboxes, but starts none."""

from pathlib import Path

import grpc

from .protos import compile_proto

PROTO = Path(__file__).with_name("sandboxes.proto")
SERVICE = "containerd.services.sandbox.v1.Controller"
CALL_DEADLINE_S = 150


class Sandboxes:
    """sandboxes.call("Start", "pod"): the answer, or grpc.RpcError. Sandboxes are of the shim's."""

    def __init__(self, address, namespace, directory):
        """directory: for the Python code that protoc makes of sandboxes.proto."""
        self._messages = compile_proto(PROTO, directory)
        self._channel = grpc.insecure_channel(f"unix:{address}")
        self._metadata = [("containerd-namespace", namespace)]

    def close(self):
        self._channel.close()

    def create(self, sandbox_id, runtime):
        """Of a sandbox that ctr has stored."""
        return self.call("Create", sandbox_id, sandbox={"sandbox_id": sandbox_id,
                                                     "runtime": {"name": runtime}})

    def call(self, method, sandbox_id, **fields):
        request = getattr(self._messages, f"Controller{method}Request",
                          self._messages.ControllerRequest)
        answer = getattr(self._messages, f"Controller{method}Response", self._messages.Answer)
        stub = self._channel.unary_unary(f"/{SERVICE}/{method}",
                                         request_serializer=request.SerializeToString,
                                         response_deserializer=answer.FromString)
        return stub(request(sandbox_id=sandbox_id, sandboxer="shim", **fields),
                    timeout=CALL_DEADLINE_S, metadata=self._metadata)
