"""Snapshotters whose roots the guest mounts itself: disks of the VM instead of the share.

containerd 1.7's blockfile (a file system in an image) and 2.1's erofs (an image for each layer, and a
directory of the host for what is written); Debian 12's containerd has neither.
"""

import contextlib
import fcntl
import itertools
import subprocess

import pytest

import newer_containerd
from oci_image import BUSYBOX_IMAGE, build_layered_image
from support import processes
from support.client import NAMESPACE
from test_snapshotters import EXPECTED, LIST, WRITE

SCRATCH_MIB = 64
LAYERED_IMAGE = "localhost/layered:latest"
# More than a slot of the VM has functions.
LAYERS = 10
# Of the host's file system for the images.
STORE_MIB = 600
# A containerd for each: what one knows of its images goes with their file system.
STORES = itertools.count()
# Serial numbers of the VM's disks.
DISKS = "for disk in /sys/block/vd*; do [ -e $disk ] && cat $disk/serial && echo; done; true"

# A container may make any node, but not open the disks of its pod.
OPEN_DISK = "mknod /disk b $(tr : ' ' < /sys/block/vda/dev) && head -c 512 /disk"


def make_blockfile(directory):
    """(suite of Debian, its containerd's configuration)"""
    scratch = directory / "scratch.ext4"
    with open(scratch, "wb") as image:
        image.truncate(SCRATCH_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", scratch], check=True)
    return "trixie", f"""
[plugins."io.containerd.snapshotter.v1.blockfile"]
  scratch_file = "{scratch}"
  fs_type = "ext4"
"""


def make_erofs(_):
    # Not the differ of its own, which needs a newer mkfs.erofs than Debian 12's.
    return "forky", """
[plugins."io.containerd.service.v1.diff-service"]
  default = ["walking"]
"""


KINDS = {"blockfile": make_blockfile, "erofs": make_erofs}


class Snapshotter:
    """One of a containerd that was started for it."""

    def __init__(self, containerd, name):
        self.containerd = containerd
        self.name = name
        self.flags = ["--snapshotter", name]

    def take(self, archive):
        self.containerd.ctr("image", "import", "--local", *self.flags, archive, namespace=NAMESPACE)


@pytest.fixture(params=KINDS)
def snapshotter(request, leak_check, make_containerd, image_archive, pytestconfig, tmp_path):
    suite, config = KINDS[request.param](tmp_path)
    programs = pytestconfig.getoption("--build").resolve() / "containerd"
    if not newer_containerd.available(programs, suite):
        pytest.skip(f"no containerd of Debian {suite} in {programs}: tools/test fetches it where "
                    "the archive can be reached")
    directory = newer_containerd.directory(programs, suite)
    with make_containerd(request.param[0], binary=str(directory / "containerd"),
                         ctr_binary=str(directory / "ctr"), extra_config=config) as running:
        chosen = Snapshotter(running, request.param)
        chosen.take(image_archive)
        yield chosen


@pytest.fixture
def clients(snapshotter, runc, kata):
    """Both runtimes, runc's answer first, under the containerd of the snapshotter."""
    pair = [client.on(snapshotter.containerd) for client in (runc, kata)]
    yield pair
    for client in pair:
        client.close()


def test_read_and_write(clients, snapshotter, kata_config):
    listings = []
    for client in clients:
        outcome = client.sh(WRITE, flags=snapshotter.flags)
        assert (outcome.status, outcome.text) == (0, EXPECTED), outcome
        listings.append(client.sh(LIST, flags=snapshotter.flags).text.splitlines())
    assert listings[0] and listings[1] == listings[0]
    kata = clients[1]
    assert kata.sh(DISKS, flags=snapshotter.flags).text == "disk1\n"
    opened = kata.sh(OPEN_DISK, flags=snapshotter.flags)
    assert opened.status == 1 and "Operation not permitted" in opened.error, opened
    kata_config.change(hypervisor={"disable_block_device_use": True})
    shared = kata.sh(WRITE + DISKS, flags=snapshotter.flags)
    assert (shared.status, shared.text) == (0, EXPECTED), shared


def test_what_a_container_wrote_is_there_when_it_starts_again(clients, snapshotter):
    """Also what it never synced."""
    script = ["sh", "-c", "cat /file 2>/dev/null; echo $(cat /file | wc -l) >> /file; "
                          "mkdir -p /d; seq 10000 > /d/numbers; md5sum /d/numbers"]
    expected = []
    for client in clients:
        container = client.new_id()
        created = client.ctr("containers", "create", *snapshotter.flags, "--runtime", client.type,
                             BUSYBOX_IMAGE, container, *script)
        assert created.status == 0, created
        outputs = []
        for _ in range(3):
            outcome = client.ctr("tasks", "start", container)
            assert outcome.status == 0, outcome
            outputs.append(outcome.text)
            client.ctr("tasks", "rm", container)
        client.remove(container)
        expected.append(outputs)
    assert expected[0][2].splitlines()[:2] == ["0", "1"], expected[0]
    assert expected[1] == expected[0]


@pytest.mark.parametrize("snapshotter", ["erofs"], indirect=True)
def test_layers(clients, snapshotter, tmp_path):
    """Files that a layer hides stay hidden, and may come again."""
    archive = build_layered_image(tmp_path / "layered.tar", LAYERED_IMAGE, LAYERS)
    snapshotter.take(archive)
    script = ("cd /layers; find . | sort; cat */file opaque/*; rm -r opaque; mkdir opaque; "
              "ls -a opaque; touch opaque/new; ls opaque; rm -r 2; find . | sort")
    answers = []
    for client in clients:
        outcome = client.sh(script, image=LAYERED_IMAGE, flags=snapshotter.flags)
        assert outcome.status == 0, outcome
        answers.append(outcome.text)
    assert "hidden" not in answers[0] and "./opaque/seen" in answers[0], answers[0]
    assert answers[1] == answers[0]
    disks = clients[1].sh(DISKS, image=LAYERED_IMAGE, flags=snapshotter.flags).text.splitlines()
    assert len(disks) >= LAYERS and len(set(disks)) == len(disks), disks


def test_killed_while_it_writes(clients, snapshotter, leaks):
    """QEMU's end is that of a machine whose power fails: the file system survives it."""
    kata = clients[1]
    container = kata.start("sh", "-c", "echo started >> /starts; sync; while :; do date >> /log; done",
                           flags=snapshotter.flags)
    kata.exec_sh(container, "until [ -s /log ]; do sleep 0.1; done")
    processes.kill(leaks.only("qemu-system"))
    kata.ctr("tasks", "rm", "-f", container)
    again = kata.ctr("tasks", "start", "--detach", container)
    assert again.status == 0, again
    outcome = kata.exec_sh(container, "until [ $(wc -l < /starts) = 2 ] && [ -s /log ]; do sleep 0.1; done; ls /log")
    assert outcome.text == "/log\n", outcome
    kata.remove(container)


@pytest.fixture
def full_store(tmp_path):
    """A file system of the host of its own for blockfile's images, that a test can fill."""
    store = tmp_path / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STORE_MIB}m", "tmpfs", store], check=True)
    yield store
    subprocess.run(["umount", store], check=True)


@pytest.fixture
def filling(full_store, leak_check, make_containerd, image_archive, pytestconfig, tmp_path):
    """A blockfile snapshotter whose images are in `full_store`."""
    suite, config = make_blockfile(tmp_path)
    programs = pytestconfig.getoption("--build").resolve() / "containerd"
    if not newer_containerd.available(programs, suite):
        pytest.skip(f"no containerd of Debian {suite} in {programs}")
    directory = newer_containerd.directory(programs, suite)
    with make_containerd(f"f{next(STORES)}", binary=str(directory / "containerd"),
                         ctr_binary=str(directory / "ctr"),
                         extra_config=f'{config}  root_path = "{full_store}/images"\n') as running:
        chosen = Snapshotter(running, "blockfile")
        chosen.take(image_archive)
        yield chosen


def create(client, snapshotter, images, script, flags=()):
    """(container without a task, its root's image)"""
    before = set(images.iterdir())
    container = client.new_id()
    created = client.ctr("containers", "create", *snapshotter.flags, *flags, "--runtime",
                         client.type, BUSYBOX_IMAGE, container, "sh", "-c", script)
    assert created.status == 0, created
    (image,) = set(images.iterdir()) - before
    return container, image


def test_host_without_space(filling, full_store, runc, kata):
    """The container has an error and goes on; the VM does not stop."""
    script = ("dd if=/dev/zero of=/big bs=1M count=30 conv=fsync 2>/dev/null && echo written; "
              "echo went on")
    with contextlib.ExitStack() as stack:
        for runtime in (runc, kata):
            client = stack.enter_context(contextlib.closing(runtime.on(filling.containerd)))
            container, image = create(client, filling, full_store / "images/snapshots", script)
            subprocess.run(["fallocate", "--dig-holes", image], check=True)
            with open(full_store / "filler", "wb", buffering=0) as filler, \
                    contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(65536))
            outcome = client.ctr("tasks", "start", container)
            assert (outcome.status, outcome.text) == (0, "went on\n"), outcome
            (full_store / "filler").unlink()
            client.remove(container)


def pod_flags(kind, pod):
    """Annotations by which CRI says which pod a container is of."""
    return ("--annotation", f"io.kubernetes.cri.container-type={kind}",
            "--annotation", f"io.kubernetes.cri.sandbox-id={pod}")


def test_image_that_somebody_else_has(filling, full_store, kata):
    """A VM that may write to it is refused, and can have it later."""
    images = full_store / "images/snapshots"
    with contextlib.closing(kata.on(filling.containerd)) as client:
        pod = client.start("sleep", "1000", flags=filling.flags)
        container, image = create(client, filling, images, "echo ran", pod_flags("container", pod))
        with open(image, "r+b") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            for _ in range(2):
                refused = client.ctr("tasks", "start", container)
                assert refused.status != 0 and "Failed to lock" in refused.error, refused
        outcome = client.ctr("tasks", "start", container)
        assert (outcome.status, outcome.text) == (0, "ran\n"), outcome
        client.remove(container)
        client.remove(pod)
