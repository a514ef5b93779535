"""The label by which the RuntimeClass finds nodes, set through the Kubernetes API as the pod's service
account."""

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from host import Refused

LABEL = "katacontainers.io/kata-runtime"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 30


class NodeLabel:
    def __init__(self, server, node, token, trust=None):
        """`trust`: the server's certificate authority, for https."""
        self._url = f"{server}/api/v1/nodes/{urllib.parse.quote(node, safe='')}"
        self._node = node
        self._token = token
        self._trust = trust

    @classmethod
    def of_this_pod(cls):
        """None outside a cluster."""
        address, node = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("NODE_NAME")
        if not address:
            return None
        if not node:
            raise Refused("label", "NODE_NAME is not set", "set it from spec.nodeName, as "
                          "daemonset.yaml does")
        try:
            token = (ACCOUNT / "token").read_text()
            trust = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
        except OSError as error:
            raise Refused("label", error, "mount the service account's token into this container, as "
                          "daemonset.yaml does") from error
        host = f"[{address}]" if ":" in address else address
        return cls(f"https://{host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}", node, token,
                   trust)

    def set(self):
        self._patch("true")
        print(f"node {self._node} has the label {LABEL}=true")

    def clear(self):
        self._patch(None)
        print(f"node {self._node} has no label {LABEL}")

    def _patch(self, value):
        request = urllib.request.Request(
            self._url, method="PATCH",
            data=json.dumps({"metadata": {"labels": {LABEL: value}}}).encode(),
            headers={"Authorization": f"Bearer {self._token}",
                     "Content-Type": "application/merge-patch+json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._trust):
                pass
        except urllib.error.HTTPError as error:
            raise Refused("label", f"node {self._node}: the API answers {error.code} {error.reason}",
                          "the service account needs patch on nodes: apply daemonset.yaml, with its "
                          "ClusterRole") from error
        except OSError as error:
            raise Refused("label", f"node {self._node}: {error}",
                          "the API server has to be within the pod's reach") from error
