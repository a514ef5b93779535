"""With a real containerd, and runc where a container is needed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from oci_image import BUSYBOX_IMAGE, build_busybox_image
from private_containerd import ContainerdError, PrivateContainerd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
RUNC = ("--runtime", "io.containerd.runc.v2")


@pytest.fixture(name="directory")
def directory_fixture():
    """Short, because sockets live in it."""
    directory = Path(tempfile.mkdtemp(prefix="kata-pc-", dir="/tmp"))
    yield directory
    assert f"{directory}/" not in Path("/proc/self/mountinfo").read_text()
    shutil.rmtree(directory)


@pytest.fixture(name="archive", scope="module")
def archive_fixture(tmp_path_factory):
    return build_busybox_image(tmp_path_factory.mktemp("image") / "busybox.tar")


def sockets_below(directory):
    return [path for path in directory.rglob("*") if path.is_socket()]


def test_a_container_runs_and_nothing_stays(directory, archive):
    with PrivateContainerd(directory) as containerd:
        containerd.import_image(archive)
        for snapshotter in containerd.snapshotters():
            result = containerd.ctr("run", "--rm", *RUNC, "--snapshotter", snapshotter,
                                    BUSYBOX_IMAGE, "c1", "sh", "-c", "echo out; exit 3", check=False)
            assert (result.returncode, result.stdout) == (3, "out\n")
        containerd.ctr("run", "-d", *RUNC, BUSYBOX_IMAGE, "c2", "sleep", "1000")
        pid = containerd.pid
    assert not Path(f"/proc/{pid}").exists()
    assert not sockets_below(directory)


def test_what_a_killed_user_left_is_ended_by_the_next_one(directory, archive):
    killed = PrivateContainerd(directory)
    killed.start()
    killed.import_image(archive)
    killed.ctr("run", "-d", *RUNC, BUSYBOX_IMAGE, "c1", "sleep", "1000")
    killed.kill()
    with PrivateContainerd(directory) as containerd:
        assert containerd.ctr("tasks", "ls", "-q").stdout == ""
        assert containerd.ctr("containers", "ls", "-q").stdout == ""


def test_containers_can_outlive_containerd(directory, archive):
    with PrivateContainerd(directory) as containerd:
        containerd.import_image(archive)
        containerd.ctr("run", "-d", *RUNC, BUSYBOX_IMAGE, "c1", "sleep", "1000")
        containerd.kill()
        containerd.start(keep_tasks=True)
        assert containerd.ctr("tasks", "ls", "-q").stdout == "c1\n"


def test_sockets_of_a_long_directory_live_elsewhere(directory):
    long_directory = directory / ("x" * 100)
    with PrivateContainerd(long_directory) as containerd:
        assert len(str(containerd.address)) < 100
        containerd.ctr("version")
        address = containerd.address
    assert not address.parent.exists()


def test_one_user_at_a_time(directory):
    with PrivateContainerd(directory), pytest.raises(ContainerdError, match="in use"):
        PrivateContainerd(directory).start()


def test_a_containerd_that_ends_at_once_is_reported_with_its_words(directory):
    with pytest.raises(ContainerdError, match="(?s)ended with status.*no_such_key|toml"):
        PrivateContainerd(directory, extra_config="no such = toml\n").start()
    assert not sockets_below(directory)


def test_a_failing_ctr_is_reported_with_its_words(directory):
    with PrivateContainerd(directory) as containerd, \
            pytest.raises(ContainerdError, match="no-such-image.*not found"):
        containerd.ctr("run", "--rm", "no-such-image", "c1")


def test_paths_come_first(directory):
    (directory / "bin").mkdir()
    shim = directory / "bin/containerd-shim-mine-v1"
    shim.write_text("#!/bin/sh\necho mine was called >&2\nexit 1\n")
    shim.chmod(0o755)
    with PrivateContainerd(directory, directory / "bin") as containerd:
        archive = build_busybox_image(directory / "busybox.tar")
        containerd.import_image(archive)
        result = containerd.ctr("run", "--rm", "--runtime", "io.containerd.mine.v1", BUSYBOX_IMAGE,
                                "c1", check=False)
    assert result.returncode != 0
    assert "mine was called" in result.stderr


def test_two_imports_give_one_image(directory, archive):
    with PrivateContainerd(directory) as containerd:
        containerd.import_image(archive)
        containerd.import_image(archive)
        assert containerd.ctr("image", "ls", "-q").stdout == f"{BUSYBOX_IMAGE}\n"


def test_the_image_is_made_once(tmp_path):
    archive = build_busybox_image(tmp_path / "busybox.tar")
    made = archive.stat().st_mtime_ns
    assert build_busybox_image(archive).stat().st_mtime_ns == made
    assert subprocess.run(["tar", "tf", archive], check=True, capture_output=True,
                          text=True).stdout.split()[-1] == "oci-layout"
