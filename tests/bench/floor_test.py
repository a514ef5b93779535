import sys

import floor
import pytest

RUNTIME_ARGV = (
    "/usr/bin/qemu-system-x86_64", "-name", "pod,debug-threads=on", "-nodefaults", "-display", "none",
    "-no-reboot", "-sandbox", "on,spawn=deny", "-machine", "q35,memory-backend=ram", "-accel", "tcg",
    "-m", "256M", "-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-kernel", "/k",
    "-initrd", "/our/initrd", "-append", "console=ttyS0 quiet", "-chardev", "socket,id=qmp,fd=3",
    "-mon", "chardev=qmp,mode=control", "-serial", "chardev:console", "-object", "rng-builtin,id=rng",
    "-device", '{"driver":"virtio-rng-pci"}')


def test_the_floor_has_the_machine_and_none_of_the_devices():
    assert floor.command_line(RUNTIME_ARGV, "/floor.img") == [
        "/usr/bin/qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-sandbox",
        "on,spawn=deny", "-machine", "q35,memory-backend=ram", "-accel", "tcg", "-m", "256M",
        "-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-kernel", "/k", "-append",
        "console=ttyS0 quiet", "-initrd", "/floor.img", "-serial", "stdio"]


def test_a_run_is_timed_to_its_line_and_to_its_end():
    run = floor.run([sys.executable, "-c", "print('PID 1', flush=True)"])
    assert 0 < run.pid1_ms <= run.total_ms


@pytest.mark.parametrize("program", ["print('something else')", "print('PID 1'); raise SystemExit(3)"])
def test_a_run_that_does_not_reach_its_end_says_what_it_printed(program):
    with pytest.raises(floor.FloorError, match="ended with status .: (something else|PID 1)"):
        floor.run([sys.executable, "-c", program])
