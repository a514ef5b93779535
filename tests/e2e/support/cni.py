"""A node's network of the tests' own: a namespace with the bridge that CNI's plugins make, and the
namespaces of pods on it. Nothing of it is in the host's."""

import ctypes
import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

PLUGINS = "/usr/lib/cni"
KINDS = ("bridge", "ptp", "second", "macvlan-bridge", "ipvlan-l2", "ipvlan-l3")
UPLINK = "up0"
CONNECT_DEADLINE_S = 60
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


class Node:
    """Close it. With IPv4 and IPv6."""

    def __init__(self, name, state_directory, mtu=1500):
        self.name = name
        self._directory = state_directory
        self._mtu = mtu
        self._pods = []
        ip("netns", "add", name)
        ip("-netns", name, "link", "set", "lo", "up")

    def close(self):
        for pod in list(self._pods):
            pod.close()
        ip("netns", "delete", self.name)

    def pod(self):
        """A pod's namespace without interfaces."""
        pod = Pod(self, f"{self.name}-{len(self._pods)}")
        self._pods.append(pod)
        return pod

    def run(self, *command, **options):
        """A command in the node's namespace: its output."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *command, **options)

    def connect(self, host, port):
        """A TCP connection from the node's namespace, for a caller that is not in it."""
        def make():
            enter_network(f"/run/netns/{self.name}")
            return socket.create_connection((host, port), timeout=CONNECT_DEADLINE_S)
        # The namespace is the thread's.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(make).result()

    def add_uplink(self):
        """An interface of the node that macvlan and ipvlan branch off, and its other end."""
        self.run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", f"{UPLINK}-peer")
        for name in (UPLINK, f"{UPLINK}-peer"):
            self.run("ip", "link", "set", name, "up")

    def has_kind(self, kind):
        """Whether the kernel can branch such an interface off the uplink."""
        probe = ["ip", "-netns", self.name, "link", "add", "link", UPLINK, "name", "probe", "type", kind]
        if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
            return False
        ip("-netns", self.name, "link", "delete", "probe")
        return True

    def configuration(self, plugin="bridge", mtu=None):
        """Of one kind of network; each kind has its own addresses."""
        number = KINDS.index(plugin)
        ranges = [[{"subnet": f"10.8{number}.0.0/24"}], [{"subnet": f"fd00:8{number}::/64"}]]
        config = {"cniVersion": "0.4.0", "name": f"{self.name}-{plugin}",
                  "type": {"second": "bridge"}.get(plugin, plugin.partition("-")[0]), "mtu": mtu or self._mtu,
                  "ipam": {"type": "host-local", "dataDir": str(self._directory / "ipam"),
                           "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}
        if config["type"] == "bridge":
            config |= {"bridge": f"cni{number}", "isGateway": True, "ipMasq": False}
        if config["type"] in ("macvlan", "ipvlan"):
            config |= {"master": UPLINK, "mode": plugin.partition("-")[2]}
            # Of l3 there is nobody to ask for the way.
            routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}] if plugin == "ipvlan-l3" else []
            config["ipam"]["routes"] = routes
        if plugin == "second":
            # The default route is the first network's.
            config["ipam"]["routes"] = [{"dst": "10.99.0.0/16"}]
        return config


    def configuration_list(self):
        """Of the bridge, with what makes hostPort."""
        bridge = self.configuration()
        return {"cniVersion": bridge.pop("cniVersion"), "name": bridge.pop("name"),
                "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}


class Pod:
    def __init__(self, node, name):
        self._node = node
        self.name = name
        self.path = f"/run/netns/{name}"
        self._attached = []
        ip("netns", "add", name)
        ip("-netns", name, "link", "set", "lo", "up")

    def attach(self, interface="eth0", plugin="bridge", mtu=None, path=None):
        """What kubelet or a client does with CNI's ADD: the addresses, IPv4 first. path: of another
        namespace than the pod's own."""
        configuration = self._node.configuration(plugin, mtu)
        result = self._call("ADD", configuration, interface, path or self.path)
        self._attached.append((configuration, interface, path or self.path))
        return [address["address"].partition("/")[0] for address in json.loads(result)["ips"]]

    def close(self):
        for configuration, interface, path in self._attached:
            self._call("DEL", configuration, interface, path)
        ip("netns", "delete", self.name)
        self._node._pods.remove(self)

    def run(self, *command):
        """A command in the pod's namespace on the host: its output."""
        return run("nsenter", f"--net={self.path}", *command)

    def _call(self, command, configuration, interface, path):
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": self.name, "CNI_NETNS": path,
                       "CNI_IFNAME": interface, "CNI_PATH": PLUGINS, "PATH": os.environ["PATH"]}
        return self._node.run(f"{PLUGINS}/{configuration['type']}", env=environment,
                              input=json.dumps(configuration))


def enter_network(path):
    """The calling thread alone; it stays there."""
    with open(path, "rb") as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"enter {path}")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def ip(*arguments):
    return run("ip", *arguments)
