"""The streams of CRI's Exec, Attach and PortForward, which containerd's streaming server offers by
websocket: each message is a byte that names the channel, and data (Kubernetes' v4.channel.k8s.io).
No message ends a channel, so that a process's stdin stays open."""

import json
import time

import websocket

PROTOCOL = "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
# Of a forwarded port. The first message of each is the port's number.
DATA, ERROR = range(2)
READ_DEADLINE_S = 120
ANSWER_S = 1


class _Channels:
    """Close it. Reads collect what comes on each channel."""

    def __init__(self, node, url):
        """node: in whose network the server listens."""
        host, port = url.split("/")[2].split(":")
        self._socket = websocket.create_connection(
            url.replace("http:", "ws:", 1), timeout=READ_DEADLINE_S, subprotocols=[PROTOCOL],
            socket=node.connect(host, int(port)))
        self.received = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close(timeout=1)

    def _send(self, channel, data):
        self._socket.send_binary(bytes([channel]) + data)

    def _receive(self):
        """One message; False at the end."""
        code, message = self._socket.recv_data()
        if code == websocket.ABNF.OPCODE_CLOSE:
            return False
        if message:
            channel = message[0]
            self.received[channel] = self.received.get(channel, b"") + message[1:]
        return True

    def _receive_all(self):
        try:
            while self._receive():
                pass
        except websocket.WebSocketConnectionClosedException:
            pass  # containerd ends it without a word, too


class ProcessStreams(_Channels):
    """Of an exec, or of a container's process."""

    @property
    def text(self):
        return self.received.get(STDOUT, b"").decode()

    @property
    def error(self):
        return self.received.get(STDERR, b"").decode()

    def send(self, text):
        self._send(STDIN, text.encode())

    def resize(self, rows, columns):
        self._send(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())

    def read_until(self, text):
        while text not in self.text:
            assert self._receive(), f"ended without {text!r}: {self.received}"

    def ask(self, line, answer):
        """Sends the line until the answer is there: nothing tells that containerd passes output on
        to who has just attached."""
        deadline = time.monotonic() + READ_DEADLINE_S
        self._socket.settimeout(ANSWER_S)
        while answer not in self.text:
            assert time.monotonic() < deadline, f"no {answer!r}: {self.received}"
            self.send(line)
            try:
                self.read_until(answer)
            except websocket.WebSocketTimeoutException:
                pass
        self._socket.settimeout(READ_DEADLINE_S)

    def finish(self):
        """At the process's end: its status, or what has failed."""
        self._receive_all()
        told = json.loads(self.received[STATUS])
        if told["status"] == "Success":
            return 0
        causes = told.get("details", {}).get("causes", ())
        codes = [int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"]
        return codes[0] if codes else told["message"]


class ForwardedPort(_Channels):
    def __init__(self, node, url, port):
        super().__init__(node, f"{url}?port={port}")
        self._number = port.to_bytes(2, "little")

    def exchange(self, data=b""):
        """Everything that the other side sends until it closes the connection; AssertionError with
        the message where there is no connection."""
        if data:
            self._send(DATA, data)
        self._receive_all()
        message = self.received.get(ERROR, b"").removeprefix(self._number)
        assert message == b"", message.decode()
        return self.received[DATA].removeprefix(self._number)
