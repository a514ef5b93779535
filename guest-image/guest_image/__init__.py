"""The guest's kernel and initramfs, made from a kernel package of Debian's and kata-agent.

kernel_package  which package, its download and its cache
kernel          what the image takes from the binary one: vmlinux and the modules, kept in the cache
tuned_kernel    what it makes of the source package: a vmlinux without modules, kept in the cache
kernel_config   the options of that one
bzimage, elf    the formats of the kernel
modules         dependency order
cpio            the initramfs archive
image           the whole: inputs' hash, assembly, manifest
"""


class GuestImageError(Exception):
    """A failed step; the message names the step, the value and the remedy."""
