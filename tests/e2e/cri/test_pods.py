"""Pods by containerd's CRI plugin, as kubelet asks for them: several containers in one VM."""

import os
import signal
import subprocess
from pathlib import Path

import grpc
import pytest

from support.cri import EXITED, NAMESPACE, NODE, POD, READY, RUNNING

# Answers each connection to port 80.
SERVER = ("nc", "-ll", "-p", "80", "-e", "echo", "page")


def test_life_of_a_pod(run_pod):
    pod = run_pod(hostname="web-1", dns_config={"servers": ["10.80.0.53"], "searches": ["a.b"]})
    assert pod.status.state == READY
    container = pod.start("sh", "-c", "echo up; exec sleep 1000")
    assert container.status.state == RUNNING
    seen = container.sh("uname -r; hostname; cat /etc/resolv.conf")
    assert seen.status == 0, seen
    kernel, name, *resolver = seen.text.splitlines()
    assert (kernel == os.uname().release) == (run_pod.runtime == "runc")
    assert name == "web-1"
    assert resolver == ["search a.b", "nameserver 10.80.0.53"]
    assert container.sh("exit 7").status == 7
    container.stop()
    status = container.status
    assert (status.state, status.exit_code) == (EXITED, 128 + signal.SIGKILL)
    assert " stdout F up\n" in container.log.read_text()
    container.remove()


@pytest.fixture
def kubelets_groups():
    """The pod's, in each hierarchy of the host. They can be removed when nothing is left in them."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    groups = [Path(mount[1]) / "kata-e2e-pods/pod1" for mount in mounts
              if mount[2] in ("cgroup", "cgroup2")]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    yield groups
    for group in groups:
        if group.exists():
            group.rmdir()
            group.parent.rmdir()


def test_the_pods_control_group(kubelets_groups, run_pod):
    """Where runc's pause is, our processes are."""
    pod = run_pod(linux={"cgroup_parent": "/kata-e2e-pods/pod1"})
    used = [group / pod.id for group in kubelets_groups if (group / pod.id).is_dir()]
    assert used
    expected = {"runc": {"sleep"}, "kata": {"containerd-", "qemu-system", "virtiofsd"}}
    for group in used:
        pids = (group / "cgroup.procs").read_text().split()
        members = {Path(f"/proc/{pid}/comm").read_text().strip()[:11] for pid in pids}
        assert members == expected[run_pod.runtime], group


def test_containers_share_what_a_pod_shares(run_pod):
    pod = run_pod()
    one = pod.start(*SERVER, name="one")
    other = pod.start("sleep", "1000", name="other")
    page = other.sh("until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done")
    assert page.text == "page\n", page
    script = "for kind in net ipc uts pid mnt; do readlink /proc/self/ns/$kind; done"
    mine, theirs = (container.sh(script).text.splitlines() for container in (one, other))
    assert mine[:3] == theirs[:3]
    assert mine[3] != theirs[3] and mine[4] != theirs[4]
    assert one.sh("echo shared > /dev/shm/x").status == 0
    assert other.sh("cat /dev/shm/x").text == "shared\n"
    # CRI's 64 MiB, in memory, and nothing of it on the node's disk or in the share.
    assert other.sh("stat -f -c '%T' /dev/shm && df -k /dev/shm | tail -n 1 | awk '{ print $2, $3 }'"
                    ).text == "tmpfs\n65536 4\n"
    full = one.sh("dd if=/dev/zero of=/dev/shm/y bs=1M count=65")
    assert full.status != 0 and "No space left" in full.error, full


def test_one_process_namespace(run_pod, wait_exited):
    """shareProcessNamespace: who is 1 is the pod's, and all see all."""
    pod = run_pod(pid=POD)
    one = pod.start("sleep", "1111", name="one")
    other = pod.start("sleep", "2222", name="other")
    for container in (one, other):
        seen = container.sh("ps -o args").text
        assert "sleep 1111" in seen and "sleep 2222" in seen, seen
        assert container.sh("readlink /proc/1/ns/pid; readlink /proc/self/ns/pid").status == 0
    assert other.sh("kill $(pidof sleep | tr ' ' '\\n' | while read pid; do "
                    "grep -q 1111 /proc/$pid/cmdline && echo $pid; done)").status == 0
    assert wait_exited(one).exit_code == 128 + signal.SIGTERM


def test_a_container_restarts(run_pod, wait_exited):
    pod = run_pod()
    for attempt in range(3):
        container = pod.start("sh", "-c", f"echo attempt {attempt}; exit {attempt}")
        assert wait_exited(container).exit_code == attempt
        assert f"attempt {attempt}\n" in container.log.read_text()
        container.remove()
    assert pod.status.state == READY


def test_pods_reach_each_other(run_pod, node):
    one, other = run_pod(), run_pod()
    one.start(*SERVER)
    client = other.start("sleep", "1000")
    page = client.sh(f"until nc {one.ip} 80 </dev/null; do sleep 0.1; done")
    assert page.text == "page\n", page
    assert node.run("busybox", "nc", one.ip, "80", stdin=subprocess.DEVNULL) == "page\n"


def test_pod_is_removed_with_all_that_runs(run_pod, wait_exited):
    """In whatever order kubelet comes to it."""
    pod = run_pod()
    pod.start("sleep", "1000", name="runs")
    pod.create("sleep", "1000", name="created")
    ended = pod.start("true", name="ended")
    wait_exited(ended)
    pod.stop()
    assert pod.status.state != READY


def test_out_of_memory(run_pod, wait_exited):
    """The pod lives on, and kubelet hears why."""
    pod = run_pod()
    hog = pod.start("sh", "-c", "tail /dev/zero", name="hog",
                    resources={"memory_limit_in_bytes": 32 << 20})
    other = pod.start("sleep", "1000", name="other")
    status = wait_exited(hog)
    assert (status.exit_code, status.reason) == (128 + signal.SIGKILL, "OOMKilled")
    assert other.sh("echo lives").text == "lives\n"


def test_limits_and_their_change(run_pod):
    pod = run_pod()
    container = pod.start("sleep", "1000", resources={"memory_limit_in_bytes": 64 << 20,
                                                      "cpu_quota": 50000, "cpu_period": 100000})
    container.update(memory_limit_in_bytes=96 << 20, cpu_quota=20000, cpu_period=100000)
    assert container.stats().memory.working_set_bytes.value > 0
    if run_pod.runtime == "kata":
        shown = container.sh("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max")
        assert shown.text == f"{96 << 20}\n20000 100000\n", shown


def test_files_of_the_pods_network(run_pod, tmp_path):
    """hostname, resolv.conf and hosts: the container runtime's, or the one that kubelet mounts."""
    hosts = tmp_path / "etc-hosts"
    hosts.write_text("10.80.0.77\tmine.cluster.local\tmine\n")
    pod = run_pod(hostname="web-2", dns_config={"servers": ["10.80.0.53", "fd00::53"],
                                                "options": ["ndots:5"]})
    own = pod.start("sleep", "1000", name="own")
    given = pod.start("sleep", "1000", name="given", mounts=[
        {"host_path": str(hosts), "container_path": "/etc/hosts"}])
    for container in (own, given):
        assert container.sh("cat /etc/hostname /proc/sys/kernel/hostname").text == "web-2\nweb-2\n"
        assert container.sh("cat /etc/resolv.conf").text == \
            "nameserver 10.80.0.53\nnameserver fd00::53\noptions ndots:5\n"
    assert own.sh("cat /etc/hosts").text == Path("/etc/hosts").read_text()
    assert given.sh("cat /etc/hosts").text == hosts.read_text()


def test_host_port(run_pod, node):
    """A port of the node leads to the pod: CNI's portmap."""
    pod = run_pod(port_mappings=[{"container_port": 80, "host_port": 8080}])
    server = pod.start(*SERVER)
    assert server.sh("until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done").text == "page\n"
    # By an address of the node that is not the bridge's own.
    node.run("ip", "address", "replace", "192.0.2.1/32", "dev", "lo")
    for address in ("192.0.2.1", "10.80.0.1"):
        assert node.run("busybox", "nc", address, "8080", stdin=subprocess.DEVNULL) == "page\n"


@pytest.fixture
def cgroup_of_pod():
    """As kubelet makes and removes it, in each hierarchy."""
    hierarchies = [path for path in Path("/sys/fs/cgroup").iterdir()
                   if path.is_dir() and not path.is_symlink()]
    cgroups = [hierarchy / NAMESPACE / "pod" for hierarchy in hierarchies]
    for cgroup in cgroups:
        cgroup.mkdir(parents=True)
    yield f"/{NAMESPACE}/pod"
    for cgroup in cgroups:
        if cgroup.exists():
            cgroup.rmdir()


def test_stats(cgroup_of_pod, run_pod):
    """What `kubectl top` and the autoscaler read."""
    pod = run_pod(linux={"cgroup_parent": cgroup_of_pod})
    container = pod.start("sh", "-c", "while :; do :; done")
    first = container.stats()
    assert container.sh("sleep 1").status == 0
    second = container.stats()
    assert second.attributes.id == container.id
    used = second.cpu.usage_core_nano_seconds.value - first.cpu.usage_core_nano_seconds.value
    assert 200e6 < used < 60e9
    assert 0 < second.memory.working_set_bytes.value < 64 << 20
    whole = pod.stats()
    assert [entry.attributes.id for entry in whole.containers] == [container.id]
    assert whole.network.default_interface.name == "eth0"
    before = whole.network.default_interface
    assert container.sh("ping -c 3 -W 20 10.80.0.1").status == 0
    after = pod.stats().network.default_interface
    assert after.rx_bytes.value >= before.rx_bytes.value + 3 * 84
    assert after.tx_bytes.value >= before.tx_bytes.value + 3 * 84


def test_the_nodes_namespaces_are_refused(cri, kata_config):
    """What they would show is the guest's, not the node's."""
    for options in ({"network": NODE}, {"pid": NODE}):
        with pytest.raises(grpc.RpcError) as refused:
            cri.run_pod("kata", **options)
        assert "the node's" in refused.value.details(), refused.value.details()


def test_annotations_of_a_pod(cri, leak_check, kata_config):
    """containerd hands on those that its pod_annotations match, to the pod and its containers."""
    name = "io.katacontainers.config.hypervisor.kernel_params"
    with pytest.raises(grpc.RpcError) as refused:
        cri.run_pod("kata", annotations={name: "of.pod=1"})
    assert f"annotation {name} is not enabled" in refused.value.details()
    kata_config.change(hypervisor={"enable_annotations": ["kernel_params"]})
    pod = cri.run_pod("kata", annotations={name: "of.pod=1"})
    try:
        assert "of.pod=1" in pod.start("sleep", "1000").sh("cat /proc/cmdline").text
    finally:
        pod.stop()
        pod.remove()
