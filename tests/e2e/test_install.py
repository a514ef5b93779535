"""What tools/install puts under a prefix is all that a system's containerd needs: the shim on its
PATH, no environment of ours, no configuration.toml."""

import os
import subprocess

import install
import pytest
from oci_image import BUSYBOX_IMAGE
from private_containerd import PrivateContainerd


@pytest.fixture
def prefix(session_directory, pytestconfig, leak_check):
    directory = session_directory / "prefix"
    build = pytestconfig.getoption("--build").resolve()
    install.install(directory, install.shipped_files(build))
    yield directory
    install.uninstall(directory)
    assert not directory.exists()


@pytest.fixture
def system_containerd(prefix, session_directory, image_archive, monkeypatch):
    """Like the system's: it knows nothing of us but its PATH."""
    for name in [name for name in os.environ if name.startswith("KATA_")]:
        monkeypatch.delenv(name)
    with PrivateContainerd(session_directory / "i", path_prefix=prefix / "bin") as running:
        running.import_image(image_archive)
        yield running


def test_installed_runtime_runs_a_container(system_containerd):
    result = system_containerd.ctr("run", "--rm", "--runtime", "io.containerd.kata.v2", BUSYBOX_IMAGE,
                                   "installed", "uname", "-r")
    assert result.stdout.strip() != os.uname().release
    assert result.stderr == ""


def test_installed_kata_runtime_says_what_it_found(prefix):
    result = subprocess.run([prefix / "bin/kata-runtime", "check"], capture_output=True, text=True,
                            check=False, env={"PATH": os.environ["PATH"]})
    assert result.returncode == 0, result.stdout + result.stderr
    assert str(prefix / "share/kata-containers/vmlinux") in result.stdout
