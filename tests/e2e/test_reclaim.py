"""reclaim_guest_freed_memory: what a guest has freed is the host's again."""

import os
import time

import pytest

MIB = 2**20
FILE_MIB = 60
# The guest's kernel tells of free memory 2 s after it is free; a free piece has to be 2 MiB.
RECLAIM_DEADLINE_S = 60
RELOOK_S = 0.1


def guest_memory_mib(qemu):
    """Of its RAM what the host really holds."""
    with os.scandir(f"/proc/{qemu.pid}/fd") as entries:
        files = [os.stat(entry.path) for entry in entries
                 if "/memfd:" in os.readlink(entry.path)]
    sizes = {file.st_ino: file.st_blocks * 512 / MIB for file in files}
    assert sizes
    return sum(sizes.values())


@pytest.mark.parametrize("template", ["off", "auto"])
def test_freed_memory_is_the_hosts(kata, kata_config, leaks, session_directory, template):
    kata_config.change(hypervisor={"reclaim_guest_freed_memory": True},
                       factory={"template": template,
                                "template_path": str(session_directory / "templates-of-reclaim")})
    container = kata.start("sleep", "1000")
    qemu = leaks.only("qemu-system")
    before = guest_memory_mib(qemu)
    kata.exec_sh(container, f"dd if=/dev/zero of=/dev/shm/file bs=1M count={FILE_MIB}")
    full = guest_memory_mib(qemu)
    assert full > before + FILE_MIB / 2
    kata.exec_sh(container, "rm /dev/shm/file")
    end = time.monotonic() + RECLAIM_DEADLINE_S
    # Nothing tells of pages that a file has lost.
    while (held := guest_memory_mib(qemu)) > full - FILE_MIB / 2 and time.monotonic() < end:
        time.sleep(RELOOK_S)
    assert held <= full - FILE_MIB / 2, f"{before} MiB before, {full} with the file"
    assert kata.exec_sh(container, "echo up").text == "up\n"
    kata.remove(container)
