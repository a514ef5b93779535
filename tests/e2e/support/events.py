"""containerd's events, as `ctr events` prints them."""

import json
import os
import select
import subprocess
import time
from dataclasses import dataclass

SUBSCRIBE_DEADLINE_S = 10


@dataclass(frozen=True)
class Event:
    topic: str
    payload: dict
    seen_at: float  # time.monotonic() of its arrival here

    @property
    def container(self):
        return self.payload.get("container_id") or self.payload.get("id")

    @property
    def process(self):
        """Of the container: the exec's id; the container's own for its init and for itself."""
        return self.payload.get("exec_id") or self.payload.get("id") or self.container


class EventStream:
    """Everything that happened since the start, in order."""

    def __init__(self, containerd, namespace):
        self._namespace = namespace
        self._partial = b""
        self.events = []
        self._process = subprocess.Popen(containerd.ctr_argv("events", namespace=namespace),
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        os.set_blocking(self._process.stdout.fileno(), False)
        self._wait_subscribed(containerd)

    @property
    def pid(self):
        return self._process.pid

    def fileno(self):
        return self._process.stdout.fileno()

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def drain(self):
        """Takes in what has arrived; never blocks."""
        while chunk := self._process.stdout.read(65536):
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            self.events += filter(None, map(self._parse, lines))

    def wait_for(self, topic, container, deadline_s, exec_id=None):
        """The first event of `topic` for `container` or its exec, also one of the past."""
        end = time.monotonic() + deadline_s
        while True:
            self.drain()
            for event in self.events:
                if (event.topic, event.container, event.process) == (topic, container,
                                                                     exec_id or container):
                    return event
            remaining = end - time.monotonic()
            if remaining <= 0 or not select.select([self], [], [], remaining)[0]:
                raise TimeoutError(f"no {topic} for {container} within {deadline_s} s; seen: "
                                   f"{self.topics_of(container)}")

    def topics_of(self, container, exec_id=None):
        """Of the container with its execs, or of one exec."""
        self.drain()
        return [event.topic for event in self.events
                if event.container == container and exec_id in (None, event.process)]

    def _parse(self, line):
        # 2026-11-22 10:35:24.01 +0000 UTC <namespace> <topic> <JSON>
        fields = line.decode().split(" ", 6)
        if len(fields) < 7 or fields[4] != self._namespace:
            return None
        return Event(fields[5], json.loads(fields[6]), time.monotonic())

    def _wait_subscribed(self, containerd):
        """`ctr events` does not say when it listens: events are made until one comes back."""
        end = time.monotonic() + SUBSCRIBE_DEADLINE_S
        while not self.events:
            if time.monotonic() > end:
                raise TimeoutError(f"ctr events printed nothing within {SUBSCRIBE_DEADLINE_S} s")
            containerd.ctr("namespaces", "label", self._namespace, "subscribed=yes",
                           namespace=self._namespace)
            select.select([self], [], [], 0.2)
            self.drain()
