"""Tasks.Update: limits of a running container. ctr 1.6 has no command for it.

A limit shows in what the container's processes may do, not in the files of a cgroup: where those are
and of which version differs between the host and the guest.
"""

import json

import grpc
import pytest

from support.tasks import WRONG_STATE, oci

EXIT_DEADLINE_S = 60
MIB = 1 << 20
FORKS = 30
# Starts children until it may not; each number is one that it started. They end with it, and it waits
# for them: zombies count.
FORK = f"""trap 'kill $pids; wait' EXIT
    n=0; while [ $n -lt {FORKS} ]; do
      sleep 1000 > /dev/null 2>&1 & pids="$pids $!"; n=$((n + 1)); echo $n
    done"""


@pytest.fixture
def container(client):
    started = client.start("sleep", "1000")
    yield started
    client.remove(started)


def _allocate(client, container, mib):
    """dd fills a buffer of this size: 0, or 137 when it is killed meanwhile."""
    return client.exec(container, "dd", "if=/dev/zero", "of=/dev/null", f"bs={mib}M",
                       "count=1").status


def _children(client, container):
    return int(client.exec_sh(container, FORK).text.split()[-1])


def _times_throttled(client, container):
    """That the scheduler stopped it, because its time was used up: in metrics of either version."""
    client.exec_sh(container, "timeout 2 sh -c 'while :; do :; done'")
    cpu = json.loads(client.ctr("tasks", "metrics", "--format", "json", container).text)["cpu"]
    return cpu.get("nr_throttled", 0) + cpu.get("throttling", {}).get("throttled_periods", 0)


def test_memory(client, container, tasks, events):
    """Only the process that wants too much is ended; with a higher limit it may."""
    assert _allocate(client, container, 64) == 0
    tasks.update(container, memory={"limit": 32 * MIB})
    assert _allocate(client, container, 64) == 128 + 9
    events.wait_for("/tasks/oom", container, EXIT_DEADLINE_S)
    tasks.update(container, memory={"limit": 128 * MIB})
    assert _allocate(client, container, 64) == 0
    assert [row[2] for row in client.task_rows()] == ["RUNNING"]


def test_pids(client, container, tasks):
    assert _children(client, container) == FORKS
    tasks.update(container, pids={"limit": 20})
    assert 0 < _children(client, container) < 20
    tasks.update(container, pids={"limit": 100})
    assert _children(client, container) == FORKS


def test_cpu(client, container, tasks):
    """A twentieth of a processor: a busy loop has to stop again and again."""
    assert _times_throttled(client, container) == 0
    tasks.update(container, cpu={"quota": 5000, "period": 100000})
    assert _times_throttled(client, container) > 0


def test_what_is_not_named_stays(client, container, tasks):
    tasks.update(container, pids={"limit": 20})
    tasks.update(container, memory={"limit": 200 * MIB})
    tasks.update(container)
    assert _children(client, container) < 20


def test_negative_limit(client, container, tasks):
    """-1 is no limit; another negative number is an error, and changes nothing."""
    tasks.update(container, memory={"limit": 32 * MIB})
    assert tasks.error("Update", container_id=container,
                       resources=oci("LinuxResources", {"memory": {"limit": -2}}))
    assert _allocate(client, container, 64) == 128 + 9


def test_no_json(client, container, tasks):
    resources = oci("LinuxResources", {}) | {"value": b"{not json"}
    assert tasks.error("Update", container_id=container, resources=resources)
    assert client.exec(container, "true").status == 0


def test_no_resources(kata, tasks):
    """Ours alone: runc's shim of containerd 1.6 crashes of it."""
    container = kata.start("sleep", "1000")
    code, _ = tasks.error("Update", container_id=container)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    kata.remove(container)


def test_stopped_container(client, container, tasks, events):
    client.ctr("tasks", "kill", "-s", "SIGKILL", container)
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    code, message = tasks.error("Update", container_id=container,
                                resources=oci("LinuxResources", {"pids": {"limit": 20}}))
    assert code in WRONG_STATE
    assert "cannot update a stopped container" in message


def test_paused_container(client, container, tasks):
    """May be updated; what holds then holds after the resume."""
    client.ctr("tasks", "pause", container)
    tasks.update(container, pids={"limit": 20})
    assert [row[2] for row in client.task_rows()] == ["PAUSED"]
    client.ctr("tasks", "resume", container)
    assert _children(client, container) < 20
