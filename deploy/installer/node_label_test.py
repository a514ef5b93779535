import http.server
import json
import threading

import pytest

from host import Refused
from node_label import NodeLabel


@pytest.fixture(name="api")
def api_fixture():
    """An API server that answers `status` and keeps what it was asked."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PATCH(self):  # pylint: disable=invalid-name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests, server.status = [], 200
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_label_is_set_and_taken_away(api):
    label = NodeLabel(api.url, "node-1", "secret")
    label.set()
    label.clear()
    for (path, headers, body), value in zip(api.requests, ("true", None), strict=True):
        assert path == "/api/v1/nodes/node-1"
        assert headers["Authorization"] == "Bearer secret"
        assert headers["Content-Type"] == "application/merge-patch+json"
        assert body == {"metadata": {"labels": {"katacontainers.io/kata-runtime": value}}}


def test_a_missing_right_is_told(api, capsys):
    api.status = 403
    with pytest.raises(Refused, match="label: node node-1: the API answers 403 .*: the service account "
                                      "needs patch on nodes") as refused:
        NodeLabel(api.url, "node-1", "secret").set()
    assert "secret" not in str(refused.value) + capsys.readouterr().out


def test_outside_a_cluster_there_is_no_label(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert NodeLabel.of_this_pod() is None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("NODE_NAME", raising=False)
    with pytest.raises(Refused, match="NODE_NAME is not set"):
        NodeLabel.of_this_pod()
