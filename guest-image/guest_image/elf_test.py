import struct
import subprocess

import pytest

from . import GuestImageError, bzimage, elf

PROGRAM = """
static const char filled[4096] __attribute__((section(".filled"))) = {1};
char zeros[8192] __attribute__((section(".data"))) = {7};
__asm__(".pushsection .note.Xen,\\"a\\",@note\\n"
        ".long 4, 4, 18\\n.asciz \\"Xen\\"\\n.long 0x1000000\\n.popsection");
int main(void) { return filled[0] + zeros[0] - 8; }
"""


@pytest.fixture(name="program", scope="module")
def program_fixture(tmp_path_factory):
    directory = tmp_path_factory.mktemp("elf")
    (directory / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-static", "-O0", "program.c", "-o", "program"], cwd=directory, check=True)
    return directory / "program"


def test_sections_are_found_by_name(program):
    image = program.read_bytes()
    assert elf.section(image, ".filled") == b"\1" + bytes(4095)
    assert elf.section(image, ".absent") is None


def test_pvh_note(program):
    image = program.read_bytes()
    assert elf.has_pvh_entry(image)
    assert not elf.has_pvh_entry(image.replace(b"Xen\0", b"Ben\0"))


def test_the_loadable_part_is_smaller_and_runs(program, tmp_path):
    image = program.read_bytes()
    part = elf.loadable_part(image + b"appended")
    assert len(part) < len(image)
    copy = tmp_path / "program"
    copy.write_bytes(part)
    copy.chmod(0o755)
    assert subprocess.run([copy], check=False).returncode == 0


def test_what_is_no_elf_is_refused():
    with pytest.raises(GuestImageError, match="ELF"):
        elf.section(b"#!/bin/sh\n" * 100, ".modinfo")


def bz_image(payload, version=b"6.1.0-test (someone) #1"):
    image = bytearray(4096)
    image[0x1F1] = 1  # setup sectors: the protected-mode part starts at 1024
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x20E, 1024)
    struct.pack_into("<II", image, 0x248, 3072, len(payload) + 4)
    image[1536:1536 + len(version)] = version
    return bytes(image) + payload + bytes(4)


@pytest.mark.parametrize("compressor", [["lz4", "-l", "-c"], ["gzip", "-c"]])
def test_vmlinux_comes_out_of_a_bzimage(program, compressor):
    image = program.read_bytes()
    payload = subprocess.run(compressor, input=image, capture_output=True, check=True).stdout
    assert bzimage.extract_vmlinux(bz_image(payload)) == elf.loadable_part(image)


def test_release_is_the_first_word_of_the_version():
    assert bzimage.release(bz_image(b"")) == "6.1.0-test"


def test_refusals_name_the_cause():
    with pytest.raises(GuestImageError, match="unknown compression"):
        bzimage.extract_vmlinux(bz_image(b"garbage"))
    with pytest.raises(GuestImageError, match="bzImage"):
        bzimage.extract_vmlinux(bytes(2048))
    with pytest.raises(GuestImageError, match="lz4 failed"):
        bzimage.extract_vmlinux(bz_image(b"\x02\x21\x4c\x18" + b"\xff" * 64))
