"""The container runs on a kernel of its own, out of the host's sight."""

import datetime
import os
import time
from pathlib import Path

import pytest

from support import processes

# An argument that no other process of the machine has.
UNUSUAL_SECONDS = f"{987654 + os.getpid()}"
CLOCK_TOLERANCE_S = 5
# A message that takes its time to the guest on a busy machine puts its clock behind; ahead it is
# never by more than the 20 ms that a message may take, and a tick, in which clocks of files are read.
CLOCK_BEHIND_S = 0.3
CLOCK_AHEAD_S = 0.05

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


def test_files_of_the_host_and_of_the_guest_have_the_same_clock(client):
    """The host dates what is written to the root, the container's kernel what is in its memory."""
    outcome = client.sh("touch /first; touch /dev/shm/second; touch /third;"
                        "stat -c %y /first /dev/shm/second /third")
    assert outcome.status == 0, outcome
    first, second, third = (datetime.datetime.strptime(line[:26], "%Y-%m-%d %H:%M:%S.%f").timestamp()
                            for line in outcome.text.splitlines())
    assert first - CLOCK_BEHIND_S < second < third + CLOCK_AHEAD_S, outcome


def test_memory_is_what_the_configuration_says(kata, kata_config):
    kata_config.change(hypervisor={"default_memory": 384})
    outcome = kata.run("awk", "/MemTotal/ {print $2}", "/proc/meminfo")
    # The kernel keeps some of it for itself.
    assert 300 * 1024 < int(outcome.text) <= 384 * 1024, outcome


def test_profiles_of_the_hosts_security_modules_are_left_to_the_host(kata):
    """A CRI gives every pod an AppArmor profile, on hosts that have AppArmor; no guest has loaded it."""
    outcome = kata.sh("echo started", flags=("--apparmor-profile", "cri-containerd.apparmor.d"))
    assert (outcome.status, outcome.text) == (0, "started\n"), outcome


def test_a_profile_that_the_guest_does_not_have_is_refused(kata, kata_config):
    kata_config.change(hypervisor={"disable_guest_apparmor": False})
    outcome = kata.sh("echo started", flags=("--apparmor-profile", "cri-containerd.apparmor.d"))
    assert outcome.status != 0, outcome
    assert "unable to apply apparmor profile" in outcome.error, outcome
