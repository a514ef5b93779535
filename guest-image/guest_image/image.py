"""The guest image as a whole: hash of the inputs, assembly, manifest."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from . import GuestImageError, cpio, kernel, kernel_package, tuned_kernel

VMLINUX, INITRD, MANIFEST = "vmlinux", "kata-initrd.img", "manifest.json"
# Mount points of the agent.
DIRECTORIES = ("/dev", "/proc", "/run", "/sys", "/tmp")
# What the agent loads at boot, and lists of what it loads when it is wanted; a path a line.
MODULE_LIST = "/etc/kata/modules"
ON_DEMAND_LISTS = "/etc/kata/modules.d"
DISTRIBUTION, TUNED = "distribution", "tuned"


def build(agent, out, package=None, variant=DISTRIBUTION):
    """Makes `out`, unless it was made from the same inputs; returns one line about what was done."""
    if not agent.is_file():
        raise GuestImageError(f"the agent {agent} does not exist: build it first")
    source = prepare_kernel(variant, package)
    inputs = _inputs_hash(agent, source)
    if _is_current(out, inputs):
        return f"{out} is up to date (Linux {source.release})"
    out.mkdir(parents=True, exist_ok=True)
    # A half-written image never passes for a whole one: the manifest goes first and comes last.
    (out / MANIFEST).unlink(missing_ok=True)
    _replace(out / INITRD, assemble(agent, source))
    _replace(out / VMLINUX, source.vmlinux.read_bytes())
    manifest = {"inputs": inputs, "variant": variant, **_manifest(agent, source, out)}
    _replace(out / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return (f"{out}: Linux {source.release}, {len(source.modules)} modules, initramfs of "
            f"{(out / INITRD).stat().st_size / 2**20:.1f} MiB")


def prepare_kernel(variant, package=None):
    """The variant's Kernel; from this package, or from the distribution's current one."""
    if variant == TUNED:
        return tuned_kernel.prepare(package or kernel_package.current(kernel_package.SOURCE))
    return kernel.prepare(package or kernel_package.current())


def kernel_of(out):
    """The Kernel that the image in `out` was made with."""
    return prepare_kernel(json.loads((out / MANIFEST).read_text())["variant"])


def assemble(agent, source):
    """The initramfs, uncompressed: unpacking it would cost the guest more than reading it does."""
    archive = cpio.Archive()
    for directory in DIRECTORIES:
        archive.add_directory(directory)
    lists = {MODULE_LIST: source.modules}
    for wanted, names in source.on_demand.items():
        lists[f"{ON_DEMAND_LISTS}/{wanted}"] = names
    for name in sorted({name for names in lists.values() for name in names}):
        archive.add_file(_module_path(name), source.module(name).read_bytes())
    for path, names in lists.items():
        archive.add_file(path, "".join(f"{_module_path(name)}\n" for name in names).encode())
    archive.add_file("/init", _stripped(agent), permissions=0o755)
    return archive.to_bytes()


def _module_path(name):
    return f"/lib/modules/{name}.ko"


def _stripped(agent):
    with tempfile.TemporaryDirectory() as scratch:
        stripped = Path(scratch) / "init"
        kernel.strip(agent, stripped, "--strip-all")
        return stripped.read_bytes()


def _inputs_hash(agent, source):
    parts = (source.directory.name, source.package_sha256, kernel_package.sha256_file(agent),
             kernel.SOURCES_HASH)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _is_current(out, inputs):
    try:
        manifest = json.loads((out / MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return manifest.get("inputs") == inputs and all(
        (out / name).exists() and kernel_package.sha256_file(out / name) == digest
        for name, digest in manifest["files"].items())


def _manifest(agent, source, out):
    return {
        "kernel": {"release": source.release, "package": source.package,
                   "package_sha256": source.package_sha256, "config_sha256": source.config_sha256},
        "agent_sha256": kernel_package.sha256_file(agent),
        "modules": list(source.modules),
        "on_demand_modules": source.on_demand,
        "files": {name: kernel_package.sha256_file(out / name) for name in (VMLINUX, INITRD)},
    }


def _replace(path, content):
    """A VM that boots meanwhile reads the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    shutil.move(partial, path)
