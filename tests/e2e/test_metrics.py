"""`ctr tasks metrics`: fields of the cgroups' version 2. Ours is always the guest's, runc's is the
host's: its rows need a host with version 2 alone (io.containerd.cgroups.v1.Metrics otherwise)."""

import json
from pathlib import Path

import pytest

MIB = 1 << 20
UNLIMITED = (1 << 64) - 1
HELD_MIB = 48
LIMIT_MIB = 128
HAS_V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


@pytest.fixture(params=["runc", "kata"])
def client(request):
    if request.param == "runc" and not HAS_V2:
        pytest.skip("the host's cgroups are not of version 2")
    return request.getfixturevalue(request.param)


@pytest.fixture
def container(client):
    started = client.start("sleep", "1000")
    yield started
    client.remove(started)


def _metrics(client, container):
    outcome = client.ctr("tasks", "metrics", "--format", "json", container)
    assert outcome.status == 0, outcome
    return json.loads(outcome.text)


def test_idle_container(client, container):
    metrics = _metrics(client, container)
    assert metrics["pids"]["current"] == 1
    assert 0 < metrics["memory"]["usage"] < 32 * MIB
    assert metrics["memory"]["usage_limit"] == UNLIMITED
    assert 0 < metrics["cpu"]["usage_usec"] < 30_000_000
    user, system = (metrics["cpu"].get(name, 0) for name in ("user_usec", "system_usec"))
    assert abs(user + system - metrics["cpu"]["usage_usec"]) < 10_000


def test_limits_are_shown(client):
    container = client.start("sleep", "1000", flags=["--memory-limit", str(LIMIT_MIB * MIB)])
    assert _metrics(client, container)["memory"]["usage_limit"] == LIMIT_MIB * MIB
    client.remove(container)


def test_processes_are_counted(client, container):
    with client.exec_session(container, "sh", "-c",
                             "sleep 1000 & sleep 1000 & echo up; read unused") as session:
        session.read_until("up")
        assert _metrics(client, container)["pids"]["current"] == 4
        assert _metrics(client, container)["pids"]["current"] == len(
            client.task_processes(container))


def test_memory_is_counted(client, container):
    """A file in a tmpfs is its writer's."""
    before = _metrics(client, container)["memory"]["usage"]
    fill = f"dd if=/dev/zero of=/dev/shm/f bs=1M count={HELD_MIB} 2> /dev/null"
    assert client.exec_sh(container, fill).status == 0
    memory = _metrics(client, container)["memory"]
    assert HELD_MIB * MIB <= memory["usage"] - before < (HELD_MIB + 16) * MIB
    assert memory["shmem"] >= HELD_MIB * MIB
    assert memory["file"] >= HELD_MIB * MIB


def test_processor_time_is_counted(client, container):
    """A busy second is one, give or take what else the machine does."""
    before = _metrics(client, container)["cpu"]["usage_usec"]
    script = "ulimit -t 1; while :; do :; done"
    assert client.exec_sh(container, script).status == 128 + 9
    spent = _metrics(client, container)["cpu"]["usage_usec"] - before
    assert 900_000 <= spent < 10_000_000


def test_paused_container(client, container):
    client.ctr("tasks", "pause", container)
    first, second = (_metrics(client, container)["cpu"]["usage_usec"] for _ in range(2))
    assert first == second
    client.ctr("tasks", "resume", container)


def test_table(client, container):
    outcome = client.ctr("tasks", "metrics", container)
    assert outcome.status == 0, outcome
    shown = {row.split()[0] for row in outcome.text.splitlines() if row.strip()}
    assert {"pids.current", "memory.usage", "cpu.usage_usec"} <= shown


def test_no_such_container(client):
    outcome = client.ctr("tasks", "metrics", client.new_id())
    assert outcome.status == 1 and "not found" in outcome.error, outcome
