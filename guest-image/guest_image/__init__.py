"""The guest's kernel and initramfs, made from Debian's cloud kernel package and kata-agent.

kernel_package  which package, its download and its cache
kernel          what the image takes from it: vmlinux and the modules, kept in the cache
bzimage, elf    the formats of the kernel
modules         dependency order
cpio            the initramfs archive
image           the whole: inputs' hash, assembly, manifest
"""


class GuestImageError(Exception):
    """A failed step; the message names the step, the value and the remedy."""
