"""Kernel modules: which ones the guest needs and in what order they load."""

from . import GuestImageError, elf

# What the agent loads at boot, in this order, each after its dependencies: the bus, the agent's
# transport, the pod's share.
BOOT_MODULES = ("virtio_pci", "vmw_vsock_virtio_transport", "virtiofs")

# What it loads when a container's root is on disks, the pod has a network, the VM changes its size or
# gives free memory back: each when it is wanted, after its dependencies.
ON_DEMAND_MODULES = ("virtio_balloon", "virtio_blk", "virtio_mem", "virtio_net", "ext4", "erofs",
                     "overlay")


def canonical(name):
    """The kernel treats '-' and '_' in module names alike."""
    return name.replace("-", "_")


def dependencies(module_image):
    """Names of the modules that this one needs, from its own .modinfo: a package that was never
    installed has no modules.dep."""
    for field in (elf.section(module_image, ".modinfo") or b"").split(b"\0"):
        key, _, value = field.partition(b"=")
        if key == b"depends":
            return [canonical(name) for name in value.decode().split(",") if name]
    return []


def load_order(wanted, available, built_in):
    """(name, path) pairs, dependencies first; a module that the kernel has built in is left out.

    available: name -> path of every module of the kernel. built_in: names.
    """
    order = {}

    def add(name, needed_by):
        if name in order or name in built_in:
            return
        if name not in available:
            raise GuestImageError(f"kernel module {name} (needed by {needed_by}) is not in the "
                                  "kernel package")
        for dependency in dependencies(available[name].read_bytes()):
            add(dependency, name)
        order[name] = available[name]

    for name in wanted:
        add(canonical(name), "the guest image")
    return list(order.items())
