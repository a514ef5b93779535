"""The pod's network: what CNI leaves in the pod's namespace is what the container has."""

import itertools
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import processes
from support.cni import Node
from support.tap import Tap

_numbers = itertools.count()


@pytest.fixture
def node(leak_check, session_directory):
    made = Node(f"kn{os.getpid()}-{next(_numbers)}", session_directory / "cni")
    yield made
    made.close()


@pytest.fixture
def start_in(leak_check):
    """start_in(client, pod, *command): the id of a container in a pod's namespace."""
    started = []

    def start(client, pod, *command):
        container = client.start(*command, flags=("--with-ns", f"network:{pod.path}"))
        started.append((client, container))
        return container
    yield start
    for client, container in started:
        client.remove(container)


def in_pod(client, pod, script):
    outcome = client.sh(script, flags=("--with-ns", f"network:{pod.path}"))
    assert outcome.status == 0, outcome
    return outcome.text


def described(text):
    """Of `ip addr` and `ip route`: what does not depend on numbers of interfaces."""
    lines = []
    for line in text.splitlines():
        line = re.sub(r"^\d+: (\w+)(@\S+)?:", r"\1:", line.strip())
        # nodad and noprefixroute: the host has seen to both.
        line = re.sub(r" flags 02$| noprefixroute", "", line)
        line = re.sub(r" (qdisc|state|qlen|group|link-netnsid).*| *$", "", line)
        if not line.startswith(("valid_lft", "inet6 fe80", "fe80")):
            lines.append(re.sub(r",(LOWER_UP|M-DOWN)", "", line))
    return lines


def serving(script):
    """A command that answers each connection with a script's output. Not HTTP: busybox's wget looks
    names up, which a static glibc does not live through in an image without its libraries."""
    return ("nc", "-ll", "-p", "80", "-e", "sh", "-c", script)


def await_server(client, container):
    asked = client.exec_sh(container, "until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done")
    assert asked.status == 0, asked


SHOW = "ip addr show; ip route show; ip -6 route show | grep -v fe80 | grep -v ^multicast"


@pytest.mark.parametrize("plugin, mtu", [("bridge", 1500), ("bridge", 9000), ("ptp", 1400)])
def test_as_runc_shows_it(runc, kata, node, plugin, mtu):
    """The same namespace, under the one and then under the other."""
    pod = node.pod()
    pod.attach(plugin=plugin, mtu=mtu)
    expected = described(in_pod(runc, pod, SHOW))
    assert f"mtu {mtu}" in "\n".join(expected)
    assert described(in_pod(kata, pod, SHOW)) == expected


def test_pods_and_node_reach_each_other(client, node, start_in):
    """By IPv4 and IPv6: ping both ways, and TCP."""
    one, other = node.pod(), node.pod()
    addresses = one.attach()
    other.attach()
    server = start_in(client, one, *serving("echo page"))
    await_server(client, server)
    peer = start_in(client, other, "sleep", "1000")
    for address, gateway in zip(addresses, ("10.80.0.1", "fd00:80::1"), strict=True):
        for container, target in ((server, gateway), (peer, address), (peer, gateway)):
            pinged = client.exec(container, "ping", "-c", "2", "-W", "20", target)
            assert pinged.status == 0 and "2 packets received" in pinged.text, pinged
        assert "2 packets received" in node.run("busybox", "ping", "-c", "2", "-W", "20", address)
        page = client.exec(peer, "nc", address, "80")
        assert page.text == "page\n", page
        assert node.run("busybox", "nc", address, "80", stdin=subprocess.DEVNULL) == "page\n"


def test_bulk_in_both_directions(client, node, start_in):
    """More than every buffer: segments and checksums are right on the whole way."""
    pod = node.pod()
    address = pod.attach()[0]
    server = start_in(client, pod, *serving("seq 1000000"))
    await_server(client, server)
    expected = node.run("sh", "-c", "seq 1000000 | sha256sum")
    assert node.run("sh", "-c", f"busybox nc {address} 80 </dev/null | sha256sum") == expected
    sender = node.pod()
    sender.attach()
    receiver = start_in(client, sender, "sleep", "1000")
    outcome = client.exec_sh(receiver, f"nc {address} 80 </dev/null | sha256sum")
    assert outcome.text == expected, outcome
    # And from the node into the pod.
    third = node.pod()
    taking_address = third.attach()[0]
    taker = start_in(client, third, *serving("sha256sum > /sum"))
    await_server(client, taker)
    node.run("sh", "-c", f"seq 1000000 | busybox nc {taking_address} 80")
    script = "until [ \"$(cat /sum)\" = \"$0\" ]; do sleep 0.1; done; echo it has"
    assert client.exec(taker, "sh", "-c", script, expected.strip()).text == "it has\n"


def test_two_interfaces(runc, kata, node):
    pod = node.pod()
    pod.attach("eth0")
    pod.attach("net1", plugin="second")
    expected = described(in_pod(runc, pod, SHOW))
    assert "10.99.0.0/16 via 10.82.0.1 dev net1" in expected
    assert described(in_pod(kata, pod, SHOW)) == expected


@pytest.mark.parametrize("plugin", ["macvlan-bridge", "ipvlan-l2", "ipvlan-l3"])
def test_branches_of_an_interface(runc, kata, node, start_in, plugin):
    """Two pods on one interface of the node, shown as under runc, reach each other."""
    node.add_uplink()
    if plugin.startswith("ipvlan") and not node.has_kind("ipvlan"):
        pytest.skip("this kernel has no ipvlan")
    one, other = node.pod(), node.pod()
    addresses = one.attach(plugin=plugin)
    other.attach(plugin=plugin)
    expected = described(in_pod(runc, one, SHOW))
    assert described(in_pod(kata, one, SHOW)) == expected
    server = start_in(kata, one, *serving("echo page"))
    await_server(kata, server)
    peer = start_in(kata, other, "sleep", "1000")
    for address in addresses:
        pinged = kata.exec(peer, "ping", "-c", "2", "-W", "20", address)
        assert pinged.status == 0 and "2 packets received" in pinged.text, pinged
        page = kata.exec(peer, "nc", address, "80")
        assert page.text == "page\n", page


def test_tap(client, node, start_in):
    """The pod's interface is somebody's tap: frames go both ways between its holder and the pod."""
    pod = node.pod()
    mac = "02:00:00:00:00:01"
    with Tap(pod.path, "tap0", mac) as tap, ThreadPoolExecutor(max_workers=1) as meanwhile:
        pod.run("ip", "address", "add", "10.90.0.2/24", "dev", "tap0")
        pod.run("ip", "link", "set", "tap0", "up")
        container = start_in(client, pod, "sleep", "1000")
        asked = meanwhile.submit(client.exec, container, "arping", "-f", "-w", "60", "-I", "tap0",
                                 "10.90.0.1")
        assert tap.answer_a_request("10.90.0.1") in pod.run("ip", "link", "show", "tap0")
        outcome = asked.result()
        assert outcome.status == 0 and mac in outcome.text.lower(), outcome


def test_no_address_resolution(runc, kata, node):
    pod = node.pod()
    pod.attach()
    pod.run("ip", "link", "set", "eth0", "arp", "off")
    expected = described(in_pod(runc, pod, SHOW))
    assert any("NOARP" in line for line in expected), expected
    assert described(in_pod(kata, pod, SHOW)) == expected


def test_interface_that_comes_later(client, node, start_in):
    """As with Docker and `ctr run --cni`, which make the network when they know of the pod."""
    pod = node.pod()
    container = start_in(client, pod, "sleep", "1000")
    address = pod.attach()[0]
    script = f"until ip addr show eth0 2>/dev/null | grep -q {address}; do sleep 0.1; done; " \
             "until ip route | grep -q default; do sleep 0.1; done; echo it has"
    assert client.exec_sh(container, script).text == "it has\n"
    pinged = client.exec(container, "ping", "-c", "2", "-W", "20", "10.80.0.1")
    assert pinged.status == 0, pinged


def test_interface_for_which_there_is_no_port(kata, node, start_in, containerd):
    """The node keeps it, which is said once; what else changes is still followed."""
    pod = node.pod()
    pod.attach()
    container = start_in(kata, pod, "sleep", "1000")
    pod.run("ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    pod.run("ip", "link", "set", "late0", "up")
    for number in (200, 201):
        pod.run("ip", "addr", "add", f"10.80.0.{number}/24", "dev", "eth0")
        script = f"until ip addr show eth0 | grep -q 10.80.0.{number}/24; do sleep 0.1; done; ls /sys/class/net"
        assert kata.exec_sh(container, script).text.split() == ["eth0", "lo"]
    said = [line for line in containerd.log_path.read_text(errors="replace").splitlines()
            if f"sandbox={container} " in line and "no free port for it" in line]
    assert len(said) == 1 and "late" in said[0], said


def test_addresses_and_routes_that_change(client, node, start_in):
    pod = node.pod()
    pod.attach()
    container = start_in(client, pod, "sleep", "1000")
    pod.run("ip", "addr", "add", "10.80.0.200/24", "dev", "eth0")
    pod.run("ip", "route", "add", "10.77.0.0/16", "via", "10.80.0.1")
    script = "until ip addr show eth0 | grep -q 10.80.0.200/24; do sleep 0.1; done; " \
             "until ip route | grep -q 10.77.0.0/16; do sleep 0.1; done; echo there"
    assert client.exec_sh(container, script).text == "there\n"
    pod.run("ip", "route", "del", "10.77.0.0/16")
    pod.run("ip", "addr", "del", "10.80.0.200/24", "dev", "eth0")
    script = "while ip addr show eth0 | grep -q 10.80.0.200; do sleep 0.1; done; " \
             "while ip route | grep -q 10.77.0.0/16; do sleep 0.1; done; echo gone"
    assert client.exec_sh(container, script).text == "gone\n"


def test_the_namespace_is_left_as_it_was(kata, node):
    pod = node.pod()
    pod.attach()

    def state():
        shown = [pod.run("ip", "-d", "addr", "show"), pod.run("ip", "route", "show"),
                 pod.run("tc", "qdisc", "show"), pod.run("tc", "filter", "show", "dev", "eth0")]
        # How long an address is valid counts down.
        return re.sub(r"valid_lft \d+sec", "", "".join(shown))
    before = state()
    assert kata.run("true", flags=("--with-ns", f"network:{pod.path}")).status == 0
    assert state() == before


def test_two_pods_in_one_namespace(kata, node):
    """Each would take the other's packets."""
    pod = node.pod()
    pod.attach()
    flags = ("--with-ns", f"network:{pod.path}")
    first = kata.start("sleep", "1000", flags=flags)
    outcome = kata.run("true", flags=flags)
    assert outcome.status == 1
    assert "interface eth0" in outcome.error and "another VM" in outcome.error
    pinged = kata.exec(first, "ping", "-c", "1", "-W", "20", "10.80.0.1")
    assert pinged.status == 0, pinged
    kata.remove(first)


def test_somebody_elses_ingress(kata, node):
    """Nothing is taken from whoever has put it there."""
    pod = node.pod()
    pod.attach()
    pod.run("tc", "qdisc", "add", "dev", "eth0", "ingress")
    outcome = kata.run("true", flags=("--with-ns", f"network:{pod.path}"))
    assert outcome.status == 1
    assert "eth0" in outcome.error and "ingress qdisc of somebody else" in outcome.error
    assert "ingress" in pod.run("tc", "qdisc", "show", "dev", "eth0")
    pod.run("tc", "qdisc", "del", "dev", "eth0", "ingress")
    assert kata.run("true", flags=("--with-ns", f"network:{pod.path}")).status == 0


def test_after_a_shim_that_was_killed(kata, node, leaks):
    """What it left at the interface is not somebody else's."""
    pod = node.pod()
    pod.attach()
    container = kata.start("sleep", "1000", flags=("--with-ns", f"network:{pod.path}"))
    for process in leaks.processes():
        processes.kill(process)
    kata.remove(container)
    assert "ingress" in pod.run("tc", "qdisc", "show", "dev", "eth0")
    assert in_pod(kata, pod, "ping -c 1 -W 20 10.80.0.1 >/dev/null && echo up") == "up\n"
    assert "ingress" not in pod.run("tc", "qdisc", "show", "dev", "eth0")


def test_the_hosts_network_is_not_taken(kata):
    """Without a namespace of its own a pod has loopback only, and the host's interfaces are left."""
    outcome = kata.run("ls", "/sys/class/net", flags=("--net-host",))
    assert outcome.text.split() == ["lo"], outcome
