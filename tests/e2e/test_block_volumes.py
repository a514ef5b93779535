"""Block devices of the host in containers: as nodes, as file systems among the mounts, and as
direct-assigned volumes."""

import contextlib
import json
import os
import subprocess

import pytest

from support.loop_devices import loop_device

MIB = 64
# What the container is told of the device, then a file system made on it, and read back.
USE = """
stat -c '%F %a %u:%g' $1 && blockdev --getsize64 $1 && blockdev --getss $1 &&
mke2fs $1 > /dev/null &&
dd if=$1 bs=1024 skip=1 count=1 2>/dev/null | head -c 58 | tail -c 2 | od -x
"""
# ext2's, at byte 56 of its superblock (Linux: Documentation/filesystems/ext4/super.rst, s_magic).
MAGIC = "0000000 ef53\n"
THROTTLED_MIB = 6
MIB_PER_S = 1
READ = f"""
uptime() {{ cut -d. -f1 /proc/uptime; }}
began=$(uptime); dd if=$1 of=/dev/null bs=1M count={THROTTLED_MIB} 2>/dev/null || exit
echo $(($(uptime) - began))
"""


@pytest.fixture
def device(tmp_path):
    with loop_device(tmp_path / "image", MIB) as path:
        yield path


def _check_file_system(device):
    checked = subprocess.run(["e2fsck", "-f", "-n", device], check=False, capture_output=True)
    assert checked.returncode == 0, checked


@pytest.mark.parametrize("sector", [512, 4096])
def test_node(runc, kata, tmp_path, sector):
    """What was written is there for the host, though nobody synced it."""
    answers = []
    for client in (runc, kata):
        with loop_device(tmp_path / client.name, MIB, sector) as device:
            outcome = client.run("sh", "-c", USE, "sh", device, flags=["--device", device])
            assert outcome.status == 0, outcome
            _check_file_system(device)
            answers.append(outcome.text)
    assert answers[0] == answers[1]
    assert answers[0].splitlines()[1:3] == [str(MIB << 20), str(sector)]
    assert MAGIC in answers[0]


def test_a_node_without_a_rule_is_no_device(kata, ctr_spec, device):
    """As of a privileged container, which has a node of each device of the host."""
    spec = ctr_spec("sh", "-c", f"ls {device} && head -c 1 {device}; ls /sys/block")
    number = os.stat(device).st_rdev
    spec["linux"]["devices"] = [{"path": device, "type": "b", "major": os.major(number),
                                 "minor": os.minor(number), "fileMode": 0o600}]
    outcome = kata.run_spec(ctr_spec.write(spec))
    assert outcome.status == 0 and outcome.text == f"{device}\n", outcome
    assert "Operation not permitted" in outcome.error, outcome


def _mount(device, *options):
    return ["--mount", f"type=ext4,src={device},dst=/data,options={':'.join(options)}"]


def test_file_system(runc, kata, tmp_path):
    shown = "grep ' /data ' /proc/mounts | cut -d' ' -f3,4 && cat /data/file"
    answers = []
    for client in (runc, kata):
        with loop_device(tmp_path / client.name, MIB) as device:
            subprocess.run(["mkfs.ext4", "-q", device], check=True)
            written = client.sh("seq 100000 > /data/numbers && echo written > /data/file",
                                flags=_mount(device, "rw"))
            assert written.status == 0, written
            _check_file_system(device)
            read = client.sh(f"{shown} && md5sum /data/numbers; echo x > /data/new",
                             flags=_mount(device, "ro", "nosuid", "noatime"))
            assert read.status == 1 and "Read-only file system" in read.error, read
            answers.append(read.text)
    assert answers[0] == answers[1]
    assert "written" in answers[0]


def test_a_file_system_that_is_none(kata, device):
    """The error names the disk's content, and the device is free again."""
    refused = kata.sh("true", flags=_mount(device, "rw"))
    assert refused.status == 1 and "ext4" in refused.error, refused


def test_limits_of_io(kata, ctr_spec, device):
    """Named by the host's number, they hold in the guest."""
    number = os.stat(device).st_rdev
    of_host = {"major": os.major(number), "minor": os.minor(number)}
    spec = ctr_spec("sh", "-c", READ, "sh", device)
    spec["linux"]["devices"] = [{"path": device, "type": "b", **of_host}]
    resources = spec["linux"]["resources"]
    resources["devices"].append({"allow": True, "type": "b", "access": "r", **of_host})
    resources["blockIO"] = {"throttleReadBpsDevice": [{"rate": MIB_PER_S << 20, **of_host}]}
    outcome = kata.run_spec(ctr_spec.write(spec))
    assert outcome.status == 0, outcome
    # The kernel counts in slices: the first and the last are shorter.
    assert int(outcome.text) >= THROTTLED_MIB // MIB_PER_S - 2, outcome


@pytest.fixture
def kata_runtime(pytestconfig):
    return pytestconfig.getoption("--build").resolve() / "runtime/cli/kata-runtime"


@contextlib.contextmanager
def _direct_volume(kata_runtime, place, device, **more):
    """As a CSI driver does it: `place` is a directory of the host, with nothing in it."""
    command = [kata_runtime, "direct-volume"]
    place.mkdir()
    info = {"volume-type": "block", "device": str(device), "fstype": "ext4", **more}
    subprocess.run([*command, "add", "--volume-path", place, "--mount-info", json.dumps(info)],
                   check=True)
    try:
        yield f"type=bind,src={place},dst=/data,options=rbind"
    finally:
        subprocess.run([*command, "remove", "--volume-path", place], check=True)


@pytest.mark.parametrize("kind", ["device", "image"])
def test_direct_assigned_volume(kata, kata_runtime, tmp_path, kind):
    """The guest mounts it; the host's directory stays empty."""
    with loop_device(tmp_path / "loop", MIB) as device:
        disk = device if kind == "device" else tmp_path / "image"
        if kind == "image":
            disk.write_bytes(b"")
            os.truncate(disk, MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", disk], check=True)
        with _direct_volume(kata_runtime, tmp_path / "volume", disk, options=["noatime"],
                            metadata={"fsGroup": "4711"}) as mount:
            shown = kata.sh("grep ' /data ' /proc/mounts | cut -d' ' -f3,4 && "
                            "stat -c '%g %a' /data && echo written > /data/file",
                            flags=["--mount", f"{mount}:rw"])
            assert shown.status == 0, shown
            mounted, group = shown.text.splitlines()
            assert mounted.startswith("ext4 rw,noatime"), shown
            assert group == "4711 2775"
            _check_file_system(disk)
            read = kata.sh("cat /data/file; echo x > /data/file", flags=["--mount", f"{mount}:ro"])
            assert read.text == "written\n" and "Read-only file system" in read.error, read
            assert list((tmp_path / "volume").iterdir()) == []


def test_a_direct_assigned_volume_without_its_device(kata, kata_runtime, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"")
    with _direct_volume(kata_runtime, tmp_path / "volume", image) as mount:
        image.unlink()
        refused = kata.sh("true", flags=["--mount", mount])
        assert refused.status == 1 and f"direct volume {tmp_path}/volume" in refused.error, refused
        assert str(image) in refused.error
