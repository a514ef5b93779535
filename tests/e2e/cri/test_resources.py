"""The VM is as large as its containers' limits want it, and becomes so while it runs."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

MIB = 1 << 20
CPU_PERIOD_US = 100_000
# Of memory that the guest has booted with: what its kernel keeps for itself.
KERNEL_MIB = 128
DEFAULT_MIB = 256


def limits(memory_mib, cpus):
    return {"memory_limit_in_bytes": memory_mib * MIB, "cpu_quota": cpus * CPU_PERIOD_US,
            "cpu_period": CPU_PERIOD_US}


def size(container):
    """Processors, and MiB of memory, of the guest; and the container's limit in bytes, or max."""
    seen = container.sh("nproc; awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo; "
                        "cat /sys/fs/cgroup/memory.max")
    assert (seen.status, seen.error) == (0, "")
    processors, memory_mib, limit = seen.text.split()
    return int(processors), int(memory_mib), limit


def assert_size(container, memory_mib, cpus):
    processors, seen_mib, limit = size(container)
    assert (processors, limit) == (cpus, str(memory_mib * MIB))
    assert DEFAULT_MIB + memory_mib - KERNEL_MIB < seen_mib <= DEFAULT_MIB + memory_mib


@pytest.fixture
def run_kata_pod(cri, leak_check):
    pods = []

    def run(**options):
        pods.append(cri.run_pod("kata", **options))
        return pods[-1]
    yield run
    for pod in pods:
        pod.stop()
        pod.remove()


@pytest.mark.parametrize("template", ["off", "auto"])
def test_size_follows_the_limits(template, run_kata_pod, kata_config):
    """In place, both ways, as `kubectl patch --subresource resize` does."""
    kata_config.change(hypervisor={"default_maxvcpus": 4}, factory={"template": template})
    pod = run_kata_pod(linux={"resources": limits(512, 1)})
    container = pod.start("sleep", "1000", resources=limits(512, 1))
    assert_size(container, 512, 1)
    container.update(**limits(2048, 4))
    assert_size(container, 2048, 4)
    # It is there, and can be used.
    filled = container.sh("dd if=/dev/zero of=/dev/null bs=1024M count=1")
    assert filled.status == 0, filled
    container.update(**limits(512, 1))
    assert_size(container, 512, 1)
    container.update(**limits(768, 2))
    assert_size(container, 768, 2)


@pytest.mark.parametrize("template", ["off", "auto"])
def test_each_processor_has_a_queue(template, run_kata_pod, kata_config, cri):
    """Of the network card, also when the processors came after it."""
    kata_config.change(hypervisor={"default_maxvcpus": 4}, factory={"template": template})
    pod = run_kata_pod(linux={"resources": limits(64, 3)})
    container = pod.start("sleep", "1000", resources=limits(64, 3))
    queues = "ls -d /sys/class/net/eth0/queues/rx-* | wc -l"
    assert container.sh(queues).text == "3\n"
    # More than every buffer, by several connections at once.
    page = pod.start("nc", "-ll", "-p", "80", "-e", "seq", "1000000", name="page")
    # Nothing tells of a program that has begun to listen; the test's deadline ends it.
    page.sh("until nc 127.0.0.1 80 </dev/null | grep -q 1; do sleep 0.1; done")
    command = f"busybox nc {pod.ip} 80 </dev/null | sha256sum"
    expected = cri.node.run("sh", "-c", "seq 1000000 | sha256sum")
    with ThreadPoolExecutor() as threads:
        taken = list(threads.map(lambda _: cri.node.run("sh", "-c", command), range(8)))
    assert taken == [expected] * 8
    # A VM keeps the processors that it has booted with.
    container.update(**limits(64, 1))
    assert container.sh(queues).text == container.sh("nproc").text
    container.update(**limits(64, 4))
    assert container.sh(f"nproc; {queues}").text == "4\n3\n"


def test_a_container_that_was_not_announced(run_kata_pod):
    """kubelet says nothing of the pod when one of its containers has no limit."""
    pod = run_kata_pod()
    first = pod.start("sleep", "1000", name="first")
    assert size(first)[2] == "max"
    before_mib = size(first)[1]
    second = pod.start("sleep", "1000", name="second", resources=limits(512, 2))
    processors, memory_mib, limit = size(second)
    assert (processors, limit) == (2, str(512 * MIB))
    assert memory_mib >= before_mib + 512


def test_more_than_the_vm_can_become(run_kata_pod):
    """An error that says so, and the old limits hold."""
    pod = run_kata_pod()
    container = pod.start("sleep", "1000", resources=limits(64, 1))
    with pytest.raises(grpc.RpcError, match=r"cannot grow beyond \d+ MiB: start the pod anew"):
        container.update(**limits(8192, 1))
    assert size(container)[2] == str(64 * MIB)
