"""The uncompressed kernel inside a bzImage (Documentation/arch/x86/boot.rst)."""

import struct
import subprocess

from . import GuestImageError, elf

SETUP_SECTORS_OFFSET = 0x1F1
SECTOR_BYTES = 512
HEADER_MAGIC_OFFSET, HEADER_MAGIC = 0x202, b"HdrS"
PAYLOAD_OFFSET = 0x248  # payload_offset and payload_length, 32 bits each, from protocol 2.08 on
KERNEL_VERSION_OFFSET = 0x20E
# The build appends the uncompressed size to the compressed stream.
SIZE_SUFFIX_BYTES = 4
DECOMPRESSORS = {
    b"\x02\x21\x4c\x18": ["lz4", "-dc"],  # legacy frame
    b"\x28\xb5\x2f\xfd": ["zstd", "-dc"],
    b"\xfd7zX": ["xz", "-dc"],
    b"\x1f\x8b": ["gzip", "-dc"],
}


def release(bz_image):
    """What `uname -r` answers in the guest."""
    (offset,) = struct.unpack_from("<H", bz_image, KERNEL_VERSION_OFFSET)
    start = offset + SECTOR_BYTES
    return bz_image[start:bz_image.index(b"\0", start)].decode().split()[0]


def extract_vmlinux(bz_image):
    """The kernel as an ELF file that QEMU boots by its PVH note."""
    if bz_image[HEADER_MAGIC_OFFSET:HEADER_MAGIC_OFFSET + 4] != HEADER_MAGIC:
        raise GuestImageError("the kernel is no bzImage (boot header magic is missing)")
    setup_sectors = bz_image[SETUP_SECTORS_OFFSET] or 4
    offset, length = struct.unpack_from("<II", bz_image, PAYLOAD_OFFSET)
    start = (setup_sectors + 1) * SECTOR_BYTES + offset
    vmlinux = _decompress(bz_image[start:start + length - SIZE_SUFFIX_BYTES])
    if not elf.has_pvh_entry(vmlinux):
        raise GuestImageError("the kernel has no PVH entry (CONFIG_PVH): QEMU cannot boot its ELF")
    return elf.loadable_part(vmlinux)


def _decompress(payload):
    for magic, command in DECOMPRESSORS.items():
        if payload.startswith(magic):
            result = subprocess.run(command, input=payload, capture_output=True, check=False)
            if result.returncode != 0:
                raise GuestImageError(f"{command[0]} failed on the kernel's payload: "
                                      f"{result.stderr.decode(errors='replace').strip()}")
            return result.stdout
    raise GuestImageError(f"the kernel's payload has an unknown compression ({payload[:4].hex()})")
