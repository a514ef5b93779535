"""As much of ELF64 (System V gABI, little endian) as kernels and modules need."""

import struct

from . import GuestImageError

MAGIC = b"\x7fELF\x02\x01"
HEADER_BYTES = 64
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SECTION_HEADER_PREFIX = struct.Struct("<IIQQQQ")
PT_LOAD = 1
PT_NOTE = 4
# include/xen/interface/elfnote.h: the 32-bit entry point that QEMU's -kernel jumps to.
NOTE_OWNER_XEN = b"Xen\0"
XEN_ELFNOTE_PHYS32_ENTRY = 18
# Offsets in the ELF header.
E_PHOFF, E_SHOFF, E_PHNUM, E_SHENTSIZE, E_SHNUM = 0x20, 0x28, 0x38, 0x3A, 0x3C
P_FILESZ_INDEX = 5


def section(image, wanted):
    """The content of the section called `wanted`, None if there is none."""
    _require_elf(image)
    (table,) = struct.unpack_from("<Q", image, E_SHOFF)
    entry_bytes, count, names_index = struct.unpack_from("<HHH", image, E_SHENTSIZE)
    headers = [SECTION_HEADER_PREFIX.unpack_from(image, table + index * entry_bytes)
               for index in range(count)]
    names_offset = headers[names_index][4]
    for name, _, _, _, offset, size in headers:
        start = names_offset + name
        if image[start:image.index(b"\0", start)] == wanted.encode():
            return image[offset:offset + size]
    return None


def loadable_part(image):
    """The same executable without what no loader reads: section table, zeros at the end of segments
    (the loader makes them) and whatever is appended."""
    _require_elf(image)
    result = bytearray(image)
    end = HEADER_BYTES
    for offset, header in _program_headers(image):
        kind, _, file_offset, _, _, file_bytes, _, _ = header
        if kind == PT_LOAD:
            content = image[file_offset:file_offset + file_bytes].rstrip(b"\0")
            shortened = list(header)
            shortened[P_FILESZ_INDEX] = len(content)
            PROGRAM_HEADER.pack_into(result, offset, *shortened)
            end = max(end, file_offset + len(content))
    struct.pack_into("<Q", result, E_SHOFF, 0)
    struct.pack_into("<HH", result, E_SHNUM, 0, 0)
    return bytes(result[:end])


def has_pvh_entry(image):
    """Whether QEMU can boot this kernel as it is (PVH, CONFIG_PVH)."""
    return any(_notes_have_pvh(image[header[2]:header[2] + header[5]])
               for _, header in _program_headers(image) if header[0] == PT_NOTE)


def _notes_have_pvh(notes):
    position = 0
    while position + 12 <= len(notes):
        owner_bytes, content_bytes, kind = struct.unpack_from("<III", notes, position)
        owner = notes[position + 12:position + 12 + owner_bytes]
        if owner == NOTE_OWNER_XEN and kind == XEN_ELFNOTE_PHYS32_ENTRY:
            return True
        position += 12 + _aligned(owner_bytes) + _aligned(content_bytes)
    return False


def _program_headers(image):
    (table,) = struct.unpack_from("<Q", image, E_PHOFF)
    (count,) = struct.unpack_from("<H", image, E_PHNUM)
    for index in range(count):
        offset = table + index * PROGRAM_HEADER.size
        yield offset, PROGRAM_HEADER.unpack_from(image, offset)


def _aligned(size):
    return (size + 3) & ~3


def _require_elf(image):
    if not image.startswith(MAGIC):
        raise GuestImageError("not a 64-bit little-endian ELF file")
