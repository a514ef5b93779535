"""The container runs on a kernel of its own, out of the host's sight."""

import os
import time
from pathlib import Path

import pytest

from support import processes

# An argument that no other process of the machine has.
UNUSUAL_SECONDS = f"{987654 + os.getpid()}"
CLOCK_TOLERANCE_S = 5

SCRIPT = f"""
sleep {UNUSUAL_SECONDS} &
uname -r; cat /proc/cmdline; awk '/MemTotal/ {{print $2}}' /proc/meminfo; date +%s
echo ready; read unused || :
"""


@pytest.fixture
def seen(client):
    """(client, kernel, command line, kB of memory, clock, host processes that run the sleep)."""
    with client.session("sh", "-c", SCRIPT) as session:
        kernel, command_line, memory, clock = session.read_until("ready")
        sleeps = [process for process in processes.running()
                  if process.argv == ("sleep", UNUSUAL_SECONDS)]
        skew = abs(int(clock) - time.time())
        outcome = session.finish()
        assert outcome.status == 0, outcome
    return client, kernel, command_line, int(memory), skew, sleeps


def test_kernel_memory_clock_and_processes(seen):
    client, kernel, command_line, memory_kb, skew, sleeps = seen
    own_vm = client.name == "kata"
    assert (kernel != os.uname().release) == own_vm
    assert (command_line != Path("/proc/cmdline").read_text().strip()) == own_vm
    host_memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    assert (memory_kb != host_memory_kb) == own_vm
    assert bool(sleeps) != own_vm, "a process of the container is seen on the host"
    assert skew < CLOCK_TOLERANCE_S


def test_memory_is_what_the_configuration_says(kata, kata_config):
    kata_config.change(hypervisor={"default_memory": 384})
    outcome = kata.run("awk", "/MemTotal/ {print $2}", "/proc/meminfo")
    # The kernel keeps some of it for itself.
    assert 300 * 1024 < int(outcome.text) <= 384 * 1024, outcome
