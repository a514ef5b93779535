"""The Debian package: a pod starts from what it installs, and nothing is left when it is removed."""

import os
import subprocess

import pytest

import package
from oci_image import BUSYBOX_IMAGE
from private_containerd import PrivateContainerd

RELEASE = package.Release("0.0~test-1", 1700000000, "The tests <root@localhost>")


def dpkg(root, *arguments):
    """In a root of its own, whose packages are this one alone."""
    return subprocess.run(["dpkg", f"--root={root}", f"--log={root}.log", "--force-depends",
                           "--force-not-root", *map(str, arguments)],
                          check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def deb(installer_context, session_directory, pytestconfig):
    build = pytestconfig.getoption("--build").resolve()
    return package.make(run_checked, installer_context.parent, build, RELEASE)


def run_checked(command, **options):
    subprocess.run(list(map(str, command)), check=True, capture_output=True, **options)


@pytest.fixture
def installed(deb, session_directory, leak_check):
    """The root into which dpkg has installed it, and from which it removes it."""
    root = session_directory / "root"
    admin = root / "var/lib/dpkg"
    for directory in (admin / "updates", admin / "info", admin / "triggers", root / "etc/dpkg"):
        directory.mkdir(parents=True)
    (admin / "status").touch()
    dpkg(root, "--install", deb)
    yield root
    dpkg(root, "--purge", "kata-cpp")
    assert not (root / "usr").exists()
    assert dpkg(root, "--get-selections") == ""


def test_pod_of_the_installed_package(installed, session_directory, image_archive, monkeypatch):
    for name in [name for name in os.environ if name.startswith("KATA_")]:
        monkeypatch.delenv(name)
    with PrivateContainerd(session_directory / "p", path_prefix=installed / "usr/bin") as containerd:
        containerd.import_image(image_archive)
        result = containerd.ctr("run", "--rm", "--runtime", "io.containerd.kata.v2", BUSYBOX_IMAGE,
                                "packaged", "uname", "-r")
    assert result.stdout.strip() != os.uname().release
    assert result.stderr == ""
    checked = dpkg(installed, "--verify", "kata-cpp")
    assert checked == "", f"changed since it was installed: {checked}"


def test_control(deb):
    shown = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True)
    fields = dict(line.split(": ", 1) for line in shown.stdout.splitlines() if line[0] != " ")
    assert fields["Package"] == "kata-cpp" and fields["Version"] == RELEASE.version
    depends = {item.split()[0] for item in fields["Depends"].split(", ")}
    assert {"libc6", "qemu-system-x86", "qemu-system-common"} <= depends
    assert "libvirt0" not in depends and "libvirt0" in fields["Suggests"]
    assert "grpc (=" in fields["Static-Built-Using"]
    listed = subprocess.run(["dpkg-deb", "--contents", deb], check=True, capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert {row[1] for row in rows} == {"root/root"}
    assert {tuple(row[3:5]) for row in rows} == {("2023-11-14", "22:13")}, "the times are the release's"
    modes = {row[5].removeprefix("."): row[0] for row in rows}
    assert modes["/usr/bin/containerd-shim-kata-v2"] == "-rwxr-xr-x"
    assert modes["/usr/share/kata-containers/vmlinux"] == "-rw-r--r--"
