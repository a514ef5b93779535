"""With a source package that takes a moment: real packages, make, processes and locks, but a "kernel"
of one C file whose Makefile has the targets that Linux has."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import GuestImageError, kernel, kernel_package, tuned_kernel
from .elf_test import PROGRAM

TIMEOUT_S = 60
# `log` counts the builds; where `gate` is a fifo, a build waits there.
MAKEFILE = """\
allnoconfig:
\tcp $(KCONFIG_ALLCONFIG) .config
olddefconfig:
\tsed -i '/CONFIG_LOST/d' .config
vmlinux:
\techo built >> {directory}/log
\tif [ -p {directory}/gate ]; then cat {directory}/gate; fi
\t$(CC) -static -O0 program.c -o vmlinux
kernelrelease:
\techo 6.1.0-test
"""
BUILDER = """\
import sys
from pathlib import Path
sys.path.insert(0, {top!r})
from guest_image import tuned_kernel
tuned_kernel.FRAGMENTS = Path({fragments!r})
print(tuned_kernel.prepare(Path({package!r})).directory, flush=True)
"""


@pytest.fixture(name="package")
def package_fixture(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fragments = tmp_path / "fragments"
    fragments.mkdir()
    (fragments / "base.config").write_text("# Why.\nCONFIG_NET=y\n")
    monkeypatch.setattr(tuned_kernel, "FRAGMENTS", fragments)
    return make_package(tmp_path, "linux-source-1.deb")


def make_package(directory, name):
    root, source = directory / f"{name}.root", directory / f"{name}.source" / "linux-source-6.1"
    (root / "usr/src").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: {Path(name).stem}\nVersion: 1\nArchitecture: all\nMaintainer: a test\n"
        "Description: sources\n")
    source.mkdir(parents=True)
    (source / "program.c").write_text(PROGRAM)
    (source / "Makefile").write_text(MAKEFILE.format(directory=directory))
    subprocess.run(["tar", "-C", source.parent, "-cJf", root / "usr/src/linux-source-6.1.tar.xz",
                    source.name], check=True)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, directory / name], check=True,
                   capture_output=True)
    return directory / name


def builds(tmp_path):
    log = tmp_path / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def builder(package):
    code = BUILDER.format(top=str(Path(__file__).parents[1]), package=str(package),
                          fragments=str(tuned_kernel.FRAGMENTS))
    return subprocess.Popen([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, text=True)


def leftovers():
    cache = kernel_package.cache_directory()
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def test_the_kernel_is_made_once(package, tmp_path):
    made = tuned_kernel.prepare(package)
    assert (made.release, made.package, made.modules) == ("6.1.0-test", package.name, ())
    assert (made.directory / tuned_kernel.CONFIG).read_text() == "CONFIG_NET=y\n"
    assert made.vmlinux.read_bytes().startswith(b"\x7fELF")
    assert tuned_kernel.prepare(package) == made
    assert builds(tmp_path) == 1
    assert leftovers() == ["tuned.lock", *sorted(
        f"tuned/{made.directory.name}/{name}"
        for name in (tuned_kernel.CONFIG, kernel.INFO, "vmlinux"))]


def test_the_same_inputs_give_the_same_bytes(package, tmp_path, monkeypatch):
    made = tuned_kernel.prepare(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("MAKEFLAGS", "CC=false")
    again = tuned_kernel.prepare(package)
    assert again.directory != made.directory and again.directory.name == made.directory.name
    assert again.vmlinux.read_bytes() == made.vmlinux.read_bytes()


def test_each_input_makes_another_kernel(package, tmp_path, monkeypatch):
    seen = {tuned_kernel.prepare(package).directory}

    def is_new(source):
        before = len(seen)
        seen.add(tuned_kernel.prepare(source).directory)
        return len(seen) > before

    assert is_new(make_package(tmp_path, "linux-source-2.deb"))
    (tuned_kernel.FRAGMENTS / "base.config").write_text("# Why else.\nCONFIG_NET=y\n")
    assert is_new(package)
    (tuned_kernel.FRAGMENTS / "more.config").write_text("# CONFIG_USB is not set\n")
    assert is_new(package)
    monkeypatch.setattr(tuned_kernel, "SCRIPTS", ("elf.py",))
    assert is_new(package)
    monkeypatch.setattr(tuned_kernel, "_compiler", lambda: "gcc 13")
    assert is_new(package)
    assert not is_new(package)


def test_a_lost_option_ends_the_build(package, tmp_path):
    (tuned_kernel.FRAGMENTS / "net.config").write_text("# Why.\nCONFIG_LOST=y\n")
    with pytest.raises(GuestImageError, match=r"CONFIG_LOST \(net.config\)"):
        tuned_kernel.prepare(package)
    assert builds(tmp_path) == 0
    assert leftovers() == ["tuned.lock"]


def test_an_error_of_the_compiler_is_shown(package, tmp_path):
    broken = tmp_path / "linux-source-1.deb.source/linux-source-6.1/program.c"
    broken.write_text("#error no such thing\n")
    subprocess.run(["tar", "-C", broken.parents[1], "-cJf", tmp_path /
                    "linux-source-1.deb.root/usr/src/linux-source-6.1.tar.xz", broken.parent.name],
                   check=True)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tmp_path / "linux-source-1.deb.root",
                    package], check=True, capture_output=True)
    with pytest.raises(GuestImageError, match="no such thing"):
        tuned_kernel.prepare(package)
    assert leftovers() == ["tuned.lock"]


def test_what_a_killed_build_leaves_is_no_kernel(package, tmp_path):
    os.mkfifo(tmp_path / "gate")
    with builder(package) as killed:
        # Opens when the compiler's step has opened the other end.
        with open(tmp_path / "gate", "wb"):
            killed.send_signal(signal.SIGKILL)
            killed.wait(TIMEOUT_S)
            # The step goes on reading, until make is told that its builder has died.
            assert not list(kernel_package.cache_directory().glob("tuned/*"))
    (tmp_path / "gate").unlink()
    made = tuned_kernel.prepare(package)
    assert made.vmlinux.exists()
    assert builds(tmp_path) == 2
    assert len(leftovers()) == 4


def test_two_builders_at_once_build_once(package, tmp_path):
    os.mkfifo(tmp_path / "gate")
    with builder(package) as one, builder(package) as other, ThreadPoolExecutor() as pool:
        results = [pool.submit(process.communicate, timeout=TIMEOUT_S) for process in (one, other)]
        with open(tmp_path / "gate", "wb"):
            pass
        outputs = {future.result()[0] for future in results}
    assert one.returncode == other.returncode == 0
    assert len(outputs) == 1 and Path(outputs.pop().strip()).is_dir()
    assert builds(tmp_path) == 1
