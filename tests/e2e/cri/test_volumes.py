"""Volumes as kubelet sets them up on the host: what changes there is seen in the container."""

import contextlib
import itertools
import resource
import subprocess
import time
import warnings

import pytest

from support.hugepages import pages_of_the_host
from support.loop_devices import loop_device

CONFIG_MAPS = 64
FILES_EACH = 100
LARGE_TREE = 50_000
# From kubelet's change to a container that reads the new value.
SWAP_LIMIT_S = 1
# ext2's magic number, in its superblock.
MAGIC = "dd if=/dev/xvda bs=1024 skip=1 count=1 2>/dev/null | head -c 58 | tail -c 2 | od -x | cut -c9-"
_versions = itertools.count()


def swap(directory, files):
    """As kubelet's atomic writer changes a configMap: a new directory, then the link ..data."""
    fresh = directory / f"..v{next(_versions)}"
    fresh.mkdir(parents=True)
    for name, value in files.items():
        (fresh / name).write_text(value)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..new").symlink_to(fresh.name)
    (directory / "..new").rename(directory / "..data")


def mount(source, target, **fields):
    return {"host_path": str(source), "container_path": target, **fields}


@contextlib.contextmanager
def mounted(*arguments):
    """By mount(8); the last argument is where."""
    subprocess.run(["mount", *arguments], check=True)
    try:
        yield arguments[-1]
    finally:
        # Lazily: virtiofsd keeps what the guest has looked up.
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True)


def test_config_map_that_changes(run_pod, tmp_path):
    """Seen within a second. What is mounted by subPath stays what it was."""
    swap(tmp_path / "map", {"key": "first"})
    target = (tmp_path / "map/key").resolve()
    container = run_pod().start("sleep", "1000", mounts=[
        mount(tmp_path / "map", "/config", readonly=True), mount(target, "/one/key", readonly=True)])
    script = "read line; echo ready; until [ $(cat /config/key) = $line ]; do :; done; echo seen"
    for value in ("second", "third"):
        with container.exec("sh", "-c", script) as streams:
            streams.send(f"{value}\n")
            streams.read_until("ready\n")
            began = time.monotonic()
            swap(tmp_path / "map", {"key": value})
            streams.read_until("seen\n")
            assert time.monotonic() - began < SWAP_LIMIT_S
            assert streams.finish() == 0
    assert container.sh("cat /one/key").text == "first"
    assert container.sh("echo x > /config/key").status != 0


def test_many_config_maps(run_pod, tmp_path):
    """Each a mount of its own; all of them change while the container runs."""
    def write_all(word):
        for number in range(CONFIG_MAPS):
            swap(tmp_path / str(number), {f"key{file}": f"{word} {number} {file}\n"
                                          for file in range(FILES_EACH)})
    write_all("first")
    container = run_pod().start("sleep", "1000", mounts=[
        mount(tmp_path / str(number), f"/config/{number}", readonly=True)
        for number in range(CONFIG_MAPS)])
    for word in ("first", "second"):
        expected = sorted(f"{word} {number} {file}" for number in range(CONFIG_MAPS)
                          for file in range(FILES_EACH))
        assert sorted(container.sh("cat /config/*/*").text.splitlines()) == expected
        write_all("second")


def test_empty_dirs(run_pod, tmp_path):
    """Containers of a pod share them; the size of one in memory holds."""
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    disk.mkdir(mode=0o777)
    memory.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", memory):
        mounts = [mount(disk, "/disk"), mount(memory, "/memory")]
        pod = run_pod()
        one = pod.start("sleep", "1000", name="one", mounts=mounts)
        other = pod.start("sleep", "1000", name="other", mounts=mounts)
        for directory in ("/disk", "/memory"):
            assert one.sh(f"mkdir {directory}/d && echo x > {directory}/d/file").status == 0
            assert other.sh(f"cat {directory}/d/file && rm -r {directory}/d").text == "x\n"
            assert one.sh(f"ls -A {directory}").text == ""
        full = one.sh("dd if=/dev/zero of=/memory/file bs=64k count=32")
        assert full.status != 0 and "No space left on device" in full.error
        assert one.sh("rm /memory/file").status == 0
        pod.stop()


def test_one_file_in_several_containers(run_pod, guest_programs, tmp_path):
    """What one writes the others see at once, and their locks are of the same file: of one that may
    only read, which came first, and of one with kubelet's subPath, a mount of its own."""
    disk, sub_path = tmp_path / "disk", tmp_path / "sub-path"
    disk.mkdir(mode=0o777)
    sub_path.mkdir()
    programs = mount(guest_programs, "/programs", readonly=True)
    with mounted("--bind", disk, sub_path):
        pod = run_pod()
        reader = pod.start("sleep", "1000", name="reader",
                           mounts=[mount(disk, "/disk", readonly=True)])
        writer = pod.start("sleep", "1000", name="writer", mounts=[mount(disk, "/disk"), programs])
        other = pod.start("sleep", "1000", name="other", mounts=[mount(sub_path, "/sub"), programs])
        for word in ("one", "three", "four", "none"):
            assert writer.sh(f"echo {word} > /disk/file").status == 0
            assert reader.sh("cat /disk/file").text == f"{word}\n"
            assert other.sh("cat /sub/file").text == f"{word}\n"
        assert reader.sh("echo x > /disk/file").status != 0
        with writer.exec("/programs/lock", "/disk/lock") as streams:
            streams.read_until("held\nheld\n")
            assert other.sh("/programs/lock /sub/lock < /dev/null").text == "busy\nbusy\n"
        pod.stop()


def test_huge_pages_of_several_containers(run_pod, guest_programs, tmp_path):
    """One file system for the pod, which stays when a container goes."""
    place = tmp_path / "pages"
    place.mkdir()
    with pages_of_the_host(16), mounted("-t", "hugetlbfs", "-o", "pagesize=2M", "nodev", place):
        mounts = [mount(place, "/pages"), mount(guest_programs, "/programs", readonly=True)]
        pod = run_pod()
        first = pod.start("sleep", "1000", name="first", mounts=mounts)
        assert first.sh("/programs/hugepages /pages/file 4 hello").text == "2048 KiB\n"
        second = pod.start("sleep", "1000", name="second", mounts=mounts)
        assert second.sh("/programs/hugepages /pages/file").text == "hello\n"
        first.stop()
        first.remove()
        third = pod.start("sleep", "1000", name="third", mounts=mounts)
        assert third.sh("/programs/hugepages /pages/file; rm /pages/file").text == "hello\n"


def test_inotify(run_pod, guest_programs, tmp_path):
    """Tells of what the pod's containers change, in a volume on the disk and in one in memory, in a
    directory and of a file."""
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    disk.mkdir(mode=0o777)
    memory.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", memory):
        mounts = [mount(disk, "/disk"), mount(memory, "/memory"),
                  mount(guest_programs, "/programs", readonly=True)]
        pod = run_pod()
        watcher = pod.start("sleep", "1000", name="watcher", mounts=mounts)
        writer = pod.start("sleep", "1000", name="writer", mounts=mounts)
        for directory in ("/disk", "/memory"):
            assert writer.sh(f"echo > {directory}/file").status == 0
            paths = (directory, f"{directory}/file")
            with watcher.exec("/programs/inotify", "8", *paths) as streams:
                streams.read_until("ready\n")
                assert writer.sh(f"cd {directory}; mkdir a; mv a b; rmdir b; echo more >> file;"
                                 "chmod 600 file").status == 0
                assert streams.finish() == 0
                assert streams.text.splitlines()[1:] == [
                    *(f"{directory} {event}" for event in
                      ("create a", "from a", "to b", "delete b", "written file")),
                    f"{directory}/file written", f"{directory} attributes file",
                    f"{directory}/file attributes"]
        pod.stop()


def test_block_device(run_pod, tmp_path):
    """volumeDevices: several containers have one, one of them to read only; and it is the host's again
    when they have gone, though the pod lives."""
    def device(permissions):
        return {"container_path": "/dev/xvda", "host_path": path, "permissions": permissions}
    with loop_device(tmp_path / "image") as path:
        pod = run_pod()
        writer = pod.start("sleep", "1000", name="writer", devices=[device("mrw")])
        reader = pod.start("sleep", "1000", name="reader", devices=[device("mrw")])
        assert writer.sh("mke2fs /dev/xvda > /dev/null && sync").status == 0
        assert reader.sh(MAGIC).text == "ef53\n\n"
        for container in (writer, reader):
            container.remove()
        subprocess.run(["e2fsck", "-f", "-n", path], check=True, capture_output=True)
        protected = pod.start("sleep", "1000", name="protected", devices=[device("mr")])
        assert protected.sh(MAGIC).text == "ef53\n\n"
        refused = protected.sh("echo x > /dev/xvda")
        assert refused.status != 0 and "Operation not permitted" in refused.error, refused
        protected.remove()


def test_sub_paths(run_pod, tmp_path):
    """kubelet mounts a directory or a file of a volume elsewhere and names that."""
    volume, directory, file = (tmp_path / name for name in ("volume", "directory", "file"))
    (volume / "sub/deeper").mkdir(parents=True)
    (volume / "sub/text").write_text("text")
    directory.mkdir()
    file.touch()
    with mounted("--bind", volume / "sub", directory), mounted("--bind", volume / "sub/text", file):
        pod = run_pod()
        container = pod.start("sleep", "1000", mounts=[
            mount(directory, "/data/sub"), mount(file, "/data/file", readonly=True)])
        assert container.sh("cat /data/file /data/sub/text").text == "texttext"
        assert container.sh("echo more >> /data/file").status != 0
        assert container.sh("echo new > /data/sub/deeper/new; ls -A /data").text == "file\nsub\n"
        assert (volume / "sub/deeper/new").read_text() == "new\n"
        pod.stop()


def test_mounts_that_come_later(run_pod, tmp_path):
    """Propagation HostToContainer; without it they stay on the host."""
    with mounted("--bind", tmp_path, tmp_path):
        subprocess.run(["mount", "--make-shared", tmp_path], check=True)
        (tmp_path / "point").mkdir()
        pod = run_pod()
        container = pod.start("sleep", "1000", mounts=[
            mount(tmp_path, "/follows", propagation=1), mount(tmp_path, "/stays")])
        with mounted("-t", "tmpfs", "tmpfs", tmp_path / "point"):
            (tmp_path / "point/file").touch()
            assert container.sh("ls /follows/point").text == "file\n"
            assert container.sh("ls /stays/point").text == ""
        pod.stop()


def _files_of_large_tree():
    """virtiofsd has a descriptor for each file that the guest knows. It raises its limit to a million
    where it may (CAP_SYS_RESOURCE)."""
    if subprocess.run(["prlimit", "--nofile=1000000:1000000", "true"], check=False,
                      capture_output=True).returncode == 0:
        return LARGE_TREE
    files = min(LARGE_TREE, resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 3 // 4)
    warnings.warn(f"only {files} files of {LARGE_TREE}: the limit of open files cannot be raised here")
    return files


@pytest.mark.slow
def test_large_tree(run_pod, tmp_path):
    """Read whole, and removed by the container."""
    files = _files_of_large_tree()
    for number in range(files):
        directory = tmp_path / str(number // 1000)
        if number % 1000 == 0:
            directory.mkdir()
        (directory / str(number)).write_text(str(number))
    container = run_pod().start("sleep", "1000", mounts=[mount(tmp_path, "/tree")])
    with container.exec("sh", "-c", "find /tree -type f | wc -l; cat /tree/*/* | wc -c") as streams:
        assert streams.finish() == 0
        assert streams.text.split() == [str(files),
                                        str(sum(len(str(number)) for number in range(files)))]
    with container.exec("sh", "-c", "rm -r /tree/*") as streams:
        assert streams.finish() == 0
    assert list(tmp_path.iterdir()) == []
