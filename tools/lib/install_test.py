import shutil
from pathlib import Path

import pytest

import install


@pytest.fixture(name="files")
def files_fixture(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    shutil.copyfile("/bin/true", source / "shim")
    (source / "kernel").write_bytes(b"kernel")
    (source / "configuration.toml").write_text("[runtime]\n")
    return {Path("bin/shim"): source / "shim",
            Path("share/kata-containers/vmlinux"): source / "kernel",
            Path("share/defaults/kata-containers/configuration.toml"): source / "configuration.toml"}


def tree(prefix):
    return sorted(str(path.relative_to(prefix)) for path in prefix.rglob("*"))


def test_uninstall_leaves_what_was_there_before(files, tmp_path):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/other").write_text("not ours")
    before = tree(prefix)
    install.install(prefix, files)
    assert (prefix / "bin/shim").stat().st_mode & 0o777 == 0o755
    assert (prefix / "share/kata-containers/vmlinux").read_bytes() == b"kernel"
    install.uninstall(prefix)
    assert tree(prefix) == before
    install.uninstall(prefix)


def test_installing_twice_is_installing_once(files, tmp_path):
    prefix = tmp_path / "prefix"
    install.install(prefix, files)
    once = tree(prefix)
    install.install(prefix, files)
    assert tree(prefix) == once
    install.uninstall(prefix)
    assert not prefix.exists() or tree(prefix) == []


def test_a_file_that_is_no_longer_shipped_goes(files, tmp_path):
    prefix = tmp_path / "prefix"
    install.install(prefix, files)
    del files[Path("share/kata-containers/vmlinux")]
    install.install(prefix, files)
    assert not (prefix / "share/kata-containers/vmlinux").exists()


def test_an_edited_configuration_is_kept(files, tmp_path):
    prefix = tmp_path / "prefix"
    install.install(prefix, files)
    edited = prefix / "share/defaults/kata-containers/configuration.toml"
    edited.write_text("[runtime]\nenable_debug = true\n")
    install.uninstall(prefix)
    assert edited.exists()
    assert not (prefix / "bin/shim").exists()
