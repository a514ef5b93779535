"""Archives in the "newc" format that the kernel unpacks (Documentation/driver-api/early-userspace/
buffer-format.rst). The bytes depend on the entries alone: sorted, owned by root, mtime 0, inodes
counted."""

import stat
from pathlib import PurePosixPath

MAGIC = b"070701"
ALIGNMENT_BYTES = 4
TRAILER = "TRAILER!!!"


class Archive:
    def __init__(self):
        self._entries = {}

    def add_directory(self, path):
        """Adds a directory and the missing ones above it. Paths are absolute in the guest."""
        for directory in (PurePosixPath(path), *PurePosixPath(path).parents):
            if directory != PurePosixPath("/"):
                self._entries.setdefault(str(directory), (stat.S_IFDIR | 0o755, b""))

    def add_file(self, path, content, permissions=0o644):
        self.add_directory(PurePosixPath(path).parent)
        self._entries[str(path)] = (stat.S_IFREG | permissions, content)

    def to_bytes(self):
        out = bytearray()
        # In this order a directory comes before what is in it.
        for inode, (path, (mode, content)) in enumerate(sorted(self._entries.items()), start=1):
            _append(out, path.lstrip("/"), inode, mode, content)
        _append(out, TRAILER, 0, 0, b"")
        return bytes(out)


def _append(out, name, inode, mode, content):
    encoded_name = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded_name), 0)
    out += MAGIC + b"".join(b"%08X" % field for field in fields) + encoded_name
    _align(out)
    out += content
    _align(out)


def _align(out):
    out += bytes(-len(out) % ALIGNMENT_BYTES)
