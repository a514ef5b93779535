import floor
import pytest
import share_floor
from memory import Usage

QEMU = ("/usr/bin/qemu-system-x86_64", "-machine", "q35", "-kernel", "/k", "-append", "quiet",
        "-device", '{"driver":"vhost-user-fs-pci","id":"dev1","bus":"rp0","chardev":"dev1-socket",'
                   '"tag":"kataShared","queue-size":512}',
        "-device", '{"driver":"virtio-rng-pci","id":"rng0"}')
DAEMON = ("/usr/lib/qemu/virtiofsd", "--fd=3", "-o", "source=/run/kata/1/shared", "-o", "cache=auto")


def test_the_share_has_the_settings_of_the_pod():
    argv = share_floor.command_line(QEMU, "/i", "/s")
    assert argv[-4:] == ["-chardev", "socket,id=share,path=/s", "-device",
                         '{"driver": "vhost-user-fs-pci", "chardev": "share", "tag": "share", '
                         '"queue-size": 512}']
    assert share_floor.with_share(DAEMON, 7, "/d") == [
        "/usr/lib/qemu/virtiofsd", "--fd=7", "-o", "source=/d", "-o", "cache=auto"]


def test_a_pod_whose_share_was_plugged_in_later():
    assert share_floor.command_line(QEMU[:7], "/i", "/s")[-1] == (
        '{"driver": "vhost-user-fs-pci", "chardev": "share", "tag": "share"}')


def test_the_kernel_hands_the_command_on():
    argv = share_floor.with_command(["qemu", "-append", "quiet", "-x"], ("/bin/ls", "/"))
    assert argv == ["qemu", "-append", "quiet -- /bin/ls /", "-x"]


def test_a_pod_without_a_share():
    with pytest.raises(floor.FloorError, match="no virtiofsd"):
        share_floor.daemon_argv([Usage("qemu-system-x86_64", 1, QEMU)])
