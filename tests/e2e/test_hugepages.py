"""Huge pages: file systems and limits of them in containers, and VMs whose memory is of them."""

import re
import subprocess
from pathlib import Path

import pytest

from support.hugepages import PAGE_MIB, PAGES, pages_of_the_host

MIB = 2**20
VM_MIB = 256
ROOM_MIB = 32


@pytest.fixture
def file_system(tmp_path):
    """As kubelet makes it for an emptyDir of the medium HugePages."""
    with pages_of_the_host(ROOM_MIB):
        place = tmp_path / "pages"
        place.mkdir()
        subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M,mode=1777,gid=4711", "nodev",
                        place], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)


def _bind(source, target):
    return {"type": "bind", "source": str(source), "destination": target,
            "options": ["rbind", "rw"]}


def test_file_system(client, file_system, guest_programs):
    """Its pages, its rights, and what it says of itself."""
    mount = f"type=bind,src={file_system},dst=/pages,options=rbind:rw"
    programs = f"type=bind,src={guest_programs},dst=/programs,options=rbind:ro"
    outcome = client.sh(
        "stat -c '%a %g' /pages; stat -f -c %s /pages; grep ' /pages ' /proc/mounts | "
        "cut -d' ' -f3; /programs/hugepages /pages/file 8 hello && /programs/hugepages /pages/file "
        "&& ls -l /pages | grep -c file; echo x > /pages/text",
        flags=["--mount", mount, "--mount", programs])
    assert outcome.text.splitlines() == ["1777 4711", "2097152", "hugetlbfs", "2048 KiB",
                                         "hello", "1"], outcome
    assert outcome.status == 1 and "Invalid argument" in outcome.error, outcome


def _limited(ctr_spec, guest_programs, limit_mib, *command):
    spec = ctr_spec(*command)
    spec["mounts"].append(_bind(guest_programs, "/programs"))
    spec["linux"]["resources"]["hugepageLimits"] = [
        {"pageSize": "2MB", "limit": limit_mib * MIB}, {"pageSize": "1GB", "limit": 0}]
    return ctr_spec.write(spec)


def test_limit(kata, ctr_spec, guest_programs):
    """The VM is larger by it, its pages are set aside, and there are no more."""
    spec = _limited(ctr_spec, guest_programs, ROOM_MIB, "sh", "-c",
                    f"/programs/hugepages {ROOM_MIB}; grep -E 'HugePages_Total|MemTotal' "
                    f"/proc/meminfo; /programs/hugepages {ROOM_MIB + PAGE_MIB}")
    outcome = kata.run_spec(spec)
    assert outcome.status == 1 and outcome.error.startswith("mmap:"), outcome
    page, memory, pages = outcome.text.splitlines()
    assert page == "2048 KiB"
    assert int(pages.split()[1]) == ROOM_MIB // PAGE_MIB, outcome
    assert int(memory.split()[1]) // 1024 > VM_MIB - ROOM_MIB, outcome


def test_limit_of_more_than_the_vm_can_have(kata, kata_config, ctr_spec, guest_programs):
    kata_config.change(hypervisor={"default_maxmemory": VM_MIB})
    outcome = kata.run_spec(_limited(ctr_spec, guest_programs, 2 * VM_MIB, "true"))
    assert outcome.status == 1, outcome
    assert re.search(r"linux.resources.hugepageLimits: the guest has memory for \d+ huge pages of "
                     r"2048 KiB, .* may use 256: raise default_memory", outcome.error), outcome


def _memory_in_huge_pages_mib(qemu):
    status = Path(f"/proc/{qemu.pid}/status").read_text()
    return int(re.search(r"HugetlbPages:\s+(\d+) kB", status)[1]) // 1024


@pytest.mark.parametrize("launcher", ["direct", "libvirt"])
def test_vm_of_huge_pages(kata, kata_config, leaks, launcher):
    kata_config.change(hypervisor={"enable_hugepages": True, "launcher": launcher},
                       factory={"template": "off"})
    with pages_of_the_host(VM_MIB):
        container = kata.start("sleep", "1000")
        assert _memory_in_huge_pages_mib(leaks.only("qemu-system")) > 0
        assert kata.exec_sh(container, "echo up").text == "up\n"
        kata.remove(container)


def test_vm_of_huge_pages_that_the_host_does_not_have(kata, kata_config):
    if not PAGES.exists():
        pytest.skip("this host's kernel has no huge pages of 2 MiB")
    wanted = int((PAGES / "free_hugepages").read_text()) + VM_MIB
    kata_config.change(hypervisor={"enable_hugepages": True, "default_memory": wanted * PAGE_MIB},
                       factory={"template": "off"})
    outcome = kata.run("true")
    assert outcome.status == 1, outcome
    assert re.search(rf"enable_hugepages: the VM wants {wanted} huge pages of 2 MiB, the host has "
                     r"\d+ free: raise .*nr_hugepages", outcome.error), outcome
