"""A real OCI image made here, from Debian's busybox-static: no registry needed."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
BUSYBOX_IMAGE = "localhost/busybox:latest"
SOURCE_DATE_EPOCH = 0


def build_busybox_image(archive, name=BUSYBOX_IMAGE, files=None):
    """Writes the OCI archive `archive`, which imports as `name`, unless it is there already and no
    older than what goes in: busybox and `files` (path in the image -> file). Returns its path."""
    archive = Path(archive)
    files = files or {}
    newest = max(path.stat().st_mtime for path in (BUSYBOX, *files.values()))
    if archive.exists() and archive.stat().st_mtime >= newest:
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        layout = Path(scratch) / "layout"
        root = Path(scratch) / "root"
        make_root(root, files)
        _make_layout(layout, root)
        partial = Path(scratch) / "archive.tar"
        _write_archive(partial, layout, name)
        partial.rename(archive)
    return archive


def build_layered_image(archive, name, layers):
    """Writes the OCI archive `archive`: busybox below `layers` layers that add /layers/<n>/file; the
    topmost but one hides what is in /layers/opaque, the topmost one removes /layers/1."""
    archive = Path(archive)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        layout, root = Path(scratch) / "layout", Path(scratch) / "root"
        make_root(root, {})
        _make_layout(layout, root)
        insert = ["insert", "--image", f"{layout}:latest"]
        hidden, seen = Path(scratch) / "hidden", Path(scratch) / "opaque"
        for directory in (hidden, seen):
            directory.mkdir()
            (directory / directory.name.replace("opaque", "seen")).write_text(f"{directory.name}\n")
        for number in range(layers - 2):
            added = Path(scratch) / str(number)
            added.mkdir()
            (added / "file").write_text(f"{number}\n")
            _umoci([*insert, added, f"/layers/{number}"])
        _umoci([*insert, hidden, "/layers/opaque"])
        _umoci([*insert, "--opaque", seen, "/layers/opaque"])
        _umoci([*insert, "--whiteout", "/layers/1"])
        _write_archive(archive, layout, name)
    return archive


def make_root(root, files):
    """The image's tree in the directory `root`, which is made."""
    for directory in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "var"):
        (root / directory).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n"
                                     "nobody:x:65534:65534:nobody:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout
    for applet in applets.split():
        if applet != "busybox":
            os.link(root / "bin/busybox", root / "bin" / applet)
    for path, source in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _make_layout(layout, root):
    image = f"{layout}:latest"
    for arguments in (
            ["init", "--layout", layout],
            ["new", "--image", image],
            ["insert", "--image", image, root, "/"],
            ["config", "--image", image, "--config.cmd", "/bin/sh", "--config.workingdir", "/",
             "--config.env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            ["gc", "--layout", layout]):
        _umoci(arguments)


def _umoci(arguments):
    subprocess.run(["umoci", *arguments], check=True, capture_output=True, text=True)


def _write_archive(archive, layout, name):
    index = layout / "index.json"
    # containerd takes the image's full name from the reference of the index.
    index.write_text(index.read_text().replace(
        '"org.opencontainers.image.ref.name":"latest"',
        f'"org.opencontainers.image.ref.name":"{name}"'))
    with tarfile.open(archive, "w") as tar:
        for path in sorted(layout.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(layout)), recursive=False)
