import os
import subprocess

import pytest

import debian_package

CONTROL = """Package: example
Version: ${version}
Architecture: all
Maintainer: nobody <nobody@localhost>
Installed-Size: ${installed_size}
Description: an example
"""


def run(command, **options):
    subprocess.run(list(map(str, command)), check=True, capture_output=True, **options)


def made(directory, time):
    """A package of a tree that was written at this time."""
    root = directory / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/share/text").mkdir(parents=True)
    (root / "usr/bin/program").write_text("#!/bin/sh\n")
    (root / "usr/bin/program").chmod(0o700)
    (root / "usr/share/text/long").write_text("x" * 3000)
    debian_package.compress(root / "usr/share/text/changelog.gz", "changes\n")
    debian_package.add_control(root, CONTROL, {"version": "1"})
    for path in root.rglob("*"):
        os.utime(path, (time, time))
    package = directory / "example.deb"
    debian_package.pack(run, root, package, 1_700_000_000)
    return package


@pytest.fixture(name="package")
def package_fixture(tmp_path):
    return made(tmp_path, 1_600_000_000)


def test_the_same_tree_gives_the_same_bytes(package, tmp_path):
    (tmp_path / "again").mkdir()
    assert made(tmp_path / "again", 1_650_000_000).read_bytes() == package.read_bytes()


def test_control_and_sums(package, tmp_path):
    run(["dpkg-deb", "--raw-extract", package, tmp_path / "out"])
    assert "Version: 1\n" in (tmp_path / "out/DEBIAN/control").read_text()
    # The long file's 3 KiB, and one for each of the others.
    assert "Installed-Size: 5\n" in (tmp_path / "out/DEBIAN/control").read_text()
    run(["md5sum", "--check", "--strict", "DEBIAN/md5sums"], cwd=tmp_path / "out")
    assert (tmp_path / "out/usr/bin/program").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/usr/share/text/long").stat().st_mode & 0o777 == 0o644


def test_dependencies_are_those_of_the_libraries():
    depends, suggests = debian_package.library_dependencies(["/bin/true"], ["/usr/bin/dpkg"])
    assert depends.startswith("libc6 (>=")
    assert "libselinux1" in suggests and "libc6" not in suggests


def test_copyright_of_packages_that_share_one_is_there_once():
    text = debian_package.copyright_of(["libc6", "libc-bin"])
    assert text.startswith("==== libc-bin, libc6 ====\n")
    assert text.count("==== ") == 1
