"""What the image takes from a kernel package: vmlinux and the modules, unpacked once and cached."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import GuestImageError, bzimage, kernel_package, modules

INFO = "kernel.json"


@dataclass(frozen=True)
class Kernel:
    directory: Path        # holds vmlinux and <module>.ko, in the cache; its name is unique
    package: str           # file name of the package
    package_sha256: str
    release: str           # uname -r
    modules: tuple         # names, in load order
    on_demand: dict        # what is loaded only when it is wanted: name -> names, in load order
    config_sha256: str | None = None  # of the configuration, where it is ours

    @property
    def vmlinux(self):
        return self.directory / "vmlinux"

    def module(self, name):
        return self.directory / f"{name}.ko"


def prepare(package):
    """The Kernel of the package file, from the cache or unpacked now."""
    package_sha256 = kernel_package.sha256_file(package)
    key = hashlib.sha256(f"{package_sha256} {SOURCES_HASH}".encode()).hexdigest()[:16]
    directory = kernel_package.cache_directory() / "kernel" / key
    if not (directory / INFO).exists():
        _unpack(package, package_sha256, directory)
    info = json.loads((directory / INFO).read_text())
    return Kernel(directory=directory, **{**info, "modules": tuple(info["modules"])})


def _hash_sources():
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if not source.name.endswith("_test.py"):
            digest.update(source.read_bytes())
    return digest.hexdigest()


# Of this builder: a change of it makes everything anew. Read when the builder is: a program that
# lives on while its files change must not give what it makes the name of what they would make.
SOURCES_HASH = _hash_sources()


def strip(source, destination, *options):
    """Copies an ELF file without what the options name (objcopy); same input, same bytes."""
    run(["objcopy", *options, source, destination])


def run(command):
    result = subprocess.run([str(argument) for argument in command],
                            capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise GuestImageError(f"{command[0]} ended with status {result.returncode}: "
                              f"{result.stderr.strip()}")


def _unpack(package, package_sha256, directory):
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        root, result = Path(scratch) / "root", Path(scratch) / "result"
        result.mkdir()
        run(["dpkg-deb", "--extract", package, root])
        release = _extract_kernel(root, result)
        names, on_demand = _extract_modules(root / "lib/modules" / release, result)
        (result / INFO).write_text(json.dumps({
            "package": package.name, "package_sha256": package_sha256,
            "release": release, "modules": names, "on_demand": on_demand}))
        # Complete or not there at all: another builder may have been faster.
        shutil.rmtree(directory, ignore_errors=True)
        result.rename(directory)
    kernel_package.drop_old(directory.parent)


def _extract_kernel(root, result):
    images = list(root.glob("boot/vmlinuz-*"))
    if len(images) != 1:
        raise GuestImageError(f"the package holds {len(images)} kernels in /boot, not one")
    bz_image = images[0].read_bytes()
    (result / "vmlinux").write_bytes(bzimage.extract_vmlinux(bz_image))
    return bzimage.release(bz_image)


def _extract_modules(directory, result):
    available = {modules.canonical(path.name.split(".ko")[0]): path
                 for path in directory.rglob("*.ko*")}
    built_in = {modules.canonical(Path(line).stem)
                for line in (directory / "modules.builtin").read_text().split()}
    boot = dict(modules.load_order(modules.BOOT_MODULES, available, built_in))
    loaded = built_in | boot.keys()
    on_demand = {name: dict(modules.load_order([name], available, loaded))
                 for name in modules.ON_DEMAND_MODULES}
    for name, path in boot.items() | {pair for order in on_demand.values() for pair in order.items()}:
        # Without signature and BTF a module loads in 40 % of the time under TCG; the initramfs is
        # as trustworthy as the kernel beside it, so the signature proves nothing here.
        strip(path, result / f"{name}.ko", "--strip-unneeded", "--remove-section=.BTF")
    return list(boot), {name: list(order) for name, order in on_demand.items()}
