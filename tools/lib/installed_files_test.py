import json
from pathlib import Path

import pytest

import installed_files


@pytest.fixture(name="files")
def files_fixture(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "shim").write_bytes(b"shim")
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
    installed_files.install(prefix, files)
    assert (prefix / "bin/shim").stat().st_mode & 0o777 == 0o755
    assert (prefix / "share/kata-containers/vmlinux").read_bytes() == b"kernel"
    installed_files.uninstall(prefix)
    assert tree(prefix) == before
    installed_files.uninstall(prefix)


def test_installing_twice_is_installing_once(files, tmp_path):
    prefix = tmp_path / "prefix"
    installed_files.install(prefix, files)
    once = tree(prefix)
    installed_files.install(prefix, files)
    assert tree(prefix) == once
    installed_files.uninstall(prefix)
    assert not prefix.exists() or tree(prefix) == []


def test_a_file_that_is_no_longer_shipped_goes(files, tmp_path):
    prefix = tmp_path / "prefix"
    installed_files.install(prefix, files)
    del files[Path("share/kata-containers/vmlinux")]
    installed_files.install(prefix, files)
    assert not (prefix / "share/kata-containers/vmlinux").exists()


def test_an_edited_configuration_is_kept(files, tmp_path):
    prefix = tmp_path / "prefix"
    installed_files.install(prefix, files)
    edited = prefix / "share/defaults/kata-containers/configuration.toml"
    edited.write_text("[runtime]\nenable_debug = true\n")
    installed_files.uninstall(prefix)
    assert edited.exists()
    assert not (prefix / "bin/shim").exists()


def test_an_edited_configuration_survives_the_next_installation(files, tmp_path):
    prefix = tmp_path / "prefix"
    installed_files.install(prefix, files)
    edited = prefix / "share/defaults/kata-containers/configuration.toml"
    edited.write_text("[runtime]\nenable_debug = true\n")
    for _ in range(2):
        installed_files.install(prefix, files)
        assert edited.read_text() == "[runtime]\nenable_debug = true\n"


def test_what_is_copied_is_prepared(files, tmp_path):
    def prepare(place, file):
        file.write_text(f"prepared {place}")
    installed_files.install(tmp_path / "prefix", files, prepare)
    assert (tmp_path / "prefix/bin/shim").read_text() == "prepared bin/shim"


def test_an_installation_that_failed_half_way_is_removed_wholly(files, tmp_path):
    def fail(place, _):
        if place.name == "vmlinux":
            raise OSError("no space")
    prefix = tmp_path / "prefix"
    with pytest.raises(OSError):
        installed_files.install(prefix, files, fail)
    assert (prefix / "bin/shim").exists()
    installed_files.uninstall(prefix)
    assert tree(prefix) == []


def test_the_manifest_names_what_is_there(files, tmp_path):
    installed_files.install(tmp_path, files)
    manifest = json.loads((tmp_path / installed_files.MANIFEST).read_text())
    assert set(manifest["files"]) == {str(place) for place in files}
    assert None not in manifest["files"].values()
