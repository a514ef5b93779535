"""A gRPC service of containerd's, called without generated stubs."""

import grpc

CALL_DEADLINE_S = 150


class GrpcService:
    """Close it. Calls go to one namespace."""

    def __init__(self, address, namespace, service):
        self._channel = grpc.insecure_channel(f"unix:{address}")
        self._metadata = [("containerd-namespace", namespace)]
        self._service = service

    def close(self):
        self._channel.close()

    def invoke(self, method, request, answer_type, deadline_s=CALL_DEADLINE_S):
        """The answer, or grpc.RpcError."""
        stub = self._channel.unary_unary(f"/{self._service}/{method}",
                                         request_serializer=type(request).SerializeToString,
                                         response_deserializer=answer_type.FromString)
        return stub(request, timeout=deadline_s, metadata=self._metadata)
