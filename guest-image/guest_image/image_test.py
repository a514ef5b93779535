import json
import os
import subprocess

import pytest

from . import GuestImageError, image, kernel


@pytest.fixture(name="agent")
def agent_fixture(tmp_path):
    source, agent = tmp_path / "agent.c", tmp_path / "agent"
    source.write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-static", "-g", source, "-o", agent], check=True)
    return agent


@pytest.fixture(name="package")
def package_fixture(tmp_path, monkeypatch):
    """A package whose kernel is unpacked already, so that the test needs no network."""
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    (unpacked / "vmlinux").write_bytes(b"kernel")
    for name in ("ring", "virtio", "crc", "disk"):
        (unpacked / f"{name}.ko").write_bytes(name.encode())
    prepared = kernel.Kernel(unpacked, "linux.deb", "0" * 64, "6.1.0-test", ("ring", "virtio"),
                             {"disk": ("crc", "disk"), "built_in": ()})
    monkeypatch.setattr(kernel, "prepare", lambda package: prepared)
    return tmp_path / "linux.deb"


def test_same_inputs_same_bytes(agent, package, tmp_path):
    image.build(agent, tmp_path / "one", package)
    os.utime(agent, (1, 1))
    image.build(agent, tmp_path / "two", package)
    for name in (image.VMLINUX, image.INITRD, image.MANIFEST):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_agent_is_stripped_and_the_modules_are_listed_in_order(agent, package, tmp_path):
    image.build(agent, tmp_path / "out", package)
    initrd = (tmp_path / "out" / image.INITRD).read_bytes()
    assert b"/lib/modules/ring.ko\n/lib/modules/virtio.ko\n" in initrd
    assert b"/lib/modules/crc.ko\n/lib/modules/disk.ko\n" in initrd
    assert initrd.count(b"etc/kata/modules.d/") == 2
    assert b".debug_info" in agent.read_bytes()
    assert b".debug_info" not in initrd


def test_nothing_is_done_twice_until_an_input_or_a_result_changes(agent, package, tmp_path):
    out = tmp_path / "out"
    image.build(agent, out, package)
    before = (out / image.INITRD).stat().st_mtime_ns
    assert "up to date" in image.build(agent, out, package)
    assert (out / image.INITRD).stat().st_mtime_ns == before

    (out / image.VMLINUX).write_bytes(b"damaged")
    assert "up to date" not in image.build(agent, out, package)
    assert (out / image.VMLINUX).read_bytes() == b"kernel"

    with open(agent, "ab") as file:
        file.write(b"changed")
    assert "up to date" not in image.build(agent, out, package)


def test_the_manifest_names_what_went_in(agent, package, tmp_path):
    image.build(agent, tmp_path / "out", package)
    manifest = json.loads((tmp_path / "out" / image.MANIFEST).read_text())
    assert manifest["kernel"]["release"] == "6.1.0-test"
    assert manifest["modules"] == ["ring", "virtio"]


def test_a_missing_agent_is_named(package, tmp_path):
    with pytest.raises(GuestImageError, match="no-agent"):
        image.build(tmp_path / "no-agent", tmp_path / "out", package)
