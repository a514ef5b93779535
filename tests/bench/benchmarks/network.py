"""A pod on a CNI bridge and its node: iperf3 both ways over one TCP connection, and the round trip of
a ping. The bridge is in a namespace of the benchmark's own."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import timed_output
from figures import Figure
from peers import ContainerPeer
from support.cni import Node

ORDER = 7.7
NAME = "network"
TITLE = "Network: a pod and its node"
NEEDS = ContainerPeer
FIGURES = (Figure("to_node", "TCP, pod to node", "MiB/s", higher_is_better=True),
           Figure("from_node", "TCP, node to pod", "MiB/s", higher_is_better=True),
           Figure("round_trip", "ping, round trip", "us"))
AIMS = ()
RUNS = None
SECONDS, SECONDS_SHORT = 3, 1
PINGS = 100
# Of the bridge: the first address of its range.
NODE_ADDRESS = "10.80.0.1"
# One for each direction: a server that has just ended a test is busy for a moment.
PORTS = (5201, 5202)
MARK = b"=====\n"


def run(peer, short):
    if peer.name == "runsc":
        return {}  # which has no network here
    seconds = SECONDS_SHORT if short else SECONDS
    with tempfile.TemporaryDirectory() as directory, \
            contextlib.closing(Node(f"kb{os.getpid()}", Path(directory))) as node, \
            _server(node, PORTS[0]), _server(node, PORTS[1]):
        pod = node.pod()
        pod.attach()
        client = f"/usr/bin/iperf3 -c {NODE_ADDRESS} -t {seconds} -J -p"
        script = (f"{client} {PORTS[0]}; echo =====; {client} {PORTS[1]} -R; echo =====; "
                  f"ping -A -c {PINGS} {NODE_ADDRESS}")
        printed = timed_output.run(peer.containers.run_argv(
            peer.runtime, peer.new_name(), "sh", "-c", script,
            options=("--with-ns", f"network:{pod.path}"))).stdout
    return figures_of(printed)


def figures_of(printed):
    to_node, from_node, pings = printed.split(MARK)
    average_ms = re.search(rb"min/avg/max = [\d.]+/([\d.]+)/", pings).group(1)
    return {"to_node": [_rate(to_node)], "from_node": [_rate(from_node)],
            "round_trip": [float(average_ms) * 1000]}


def _rate(report):
    """Of what has arrived, in MiB/s."""
    return json.loads(report)["end"]["sum_received"]["bits_per_second"] / 8 / 2**20


@contextlib.contextmanager
def _server(node, port):
    server = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.name}", "iperf3", "-s", "-p", str(port),
                               "--forceflush"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    try:
        for line in server.stdout:
            if b"Server listening" in line:
                break
        yield
    finally:
        server.terminate()
        server.stdout.close()
        server.wait()
