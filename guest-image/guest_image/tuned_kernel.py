"""The tuned kernel: the distribution's source package with the options of guest-image/kernel and
without modules. It is built once per set of inputs; the cache outside the tree keeps it."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from . import GuestImageError, elf, kernel, kernel_config, kernel_package

FRAGMENTS = Path(__file__).parents[1] / "kernel"
CONFIG = "config"
# What of this builder makes a difference to the kernel.
SCRIPTS = ("elf.py", "kernel_config.py", "tuned_kernel.py")
KEPT_KERNELS = 3
OUTPUT_TAIL_LINES = 30
# Of the caller's environment; anything else (MAKEFLAGS, ARCH, KCFLAGS) could change the result.
ENVIRONMENT = ("HOME", "PATH", "TMPDIR", "XDG_CACHE_HOME")


def prepare(package):
    """The Kernel made from this source package, from the cache or built now."""
    package_sha256 = kernel_package.sha256_file(package)
    cache = kernel_package.cache_directory()
    directory = cache / "tuned" / _key(package_sha256)
    if not (directory / kernel.INFO).exists():
        with _lock(cache) as lock:
            if not (directory / kernel.INFO).exists():
                _build(package, package_sha256, directory, lock)
    info = json.loads((directory / kernel.INFO).read_text())
    return kernel.Kernel(directory=directory, modules=(), on_demand={}, **info)


def _key(package_sha256):
    digest = hashlib.sha256(f"{package_sha256} {_compiler()}".encode())
    here = Path(__file__).parent
    for path in (*sorted(FRAGMENTS.glob("*.config")), *(here / name for name in SCRIPTS)):
        digest.update(f"{path.name} {kernel_package.sha256_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def _compiler():
    return "\n".join(_output([program, "--version"]).splitlines()[0] for program in ("gcc", "ld"))


@contextlib.contextmanager
def _lock(cache):
    """One build at a time: whoever waited finds the result of the other, or builds it himself. The
    compilers inherit the lock, so that nobody removes the tree below one that outlives its builder."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "tuned.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _build(package, package_sha256, directory, lock):
    # Of a builder that was killed, or left by an error.
    scratch = directory.parents[1] / "tuned-build"
    shutil.rmtree(scratch, ignore_errors=True)
    result = scratch / "result"
    result.mkdir(parents=True)
    try:
        source = _unpack(package, scratch)
        make = _Make(source, lock)
        config = _configure(make, source)
        make.run("vmlinux")
        (result / "vmlinux").write_bytes(_bootable((source / "vmlinux").read_bytes()))
        (result / CONFIG).write_text(config)
        (result / kernel.INFO).write_text(json.dumps({
            "package": package.name, "package_sha256": package_sha256,
            "release": make.run("kernelrelease").strip(),
            "config_sha256": hashlib.sha256(config.encode()).hexdigest()}))
        # Complete or not there at all.
        directory.parent.mkdir(exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
        result.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    kernel_package.drop_old(directory.parent, KEPT_KERNELS)


def _unpack(package, scratch):
    """The source tree: a tar archive in the package."""
    kernel.run(["dpkg-deb", "--extract", package, scratch / "package"])
    archives = list(scratch.glob("package/usr/src/linux-source-*.tar.xz"))
    if len(archives) != 1:
        raise GuestImageError(f"{package.name} holds {len(archives)} source archives, not one")
    source = scratch / "source"
    source.mkdir()
    kernel.run(["tar", "--extract", "--strip-components=1", "--directory", source,
                "--file", archives[0]])
    shutil.rmtree(scratch / "package")
    return source


def _configure(make, source):
    """Everything off but what the fragments say, and what that selects."""
    options = kernel_config.read(FRAGMENTS)
    wanted = source / "kata.config"
    wanted.write_text(kernel_config.render(options))
    make.run(f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig")
    make.run("olddefconfig")
    config = (source / ".config").read_text()
    kernel_config.verify(options, config)
    return config


def _bootable(vmlinux):
    if not elf.has_pvh_entry(vmlinux):
        raise GuestImageError("the kernel has no PVH entry (CONFIG_PVH): QEMU cannot boot its ELF")
    return elf.loadable_part(vmlinux)


class _Make:
    """Runs the source tree's Makefile so that the same inputs give the same bytes."""

    def __init__(self, source, lock):
        self._lock = lock
        # Whatever else the machine does is more urgent; with its builder make ends, too.
        self._command = ["nice", "-n", "19", "setpriv", "--pdeathsig", "TERM",
                         "make", "--silent", f"--directory={source}",
                         f"--jobs={len(os.sched_getaffinity(0))}", "ARCH=x86_64",
                         f"CC={'ccache gcc' if shutil.which('ccache') else 'gcc'}"]
        built = time.gmtime((source / "Makefile").stat().st_mtime)
        self._environment = {
            **{name: value for name, value in os.environ.items()
               if name in ENVIRONMENT or name.startswith("CCACHE_")},
            "LC_ALL": "C",
            # `uname -v` tells the date of the sources.
            "KBUILD_BUILD_TIMESTAMP": time.strftime("%Y-%m-%d", built),
            "KBUILD_BUILD_VERSION": "1", "KBUILD_BUILD_USER": "kata", "KBUILD_BUILD_HOST": "kata",
        }

    def run(self, *arguments):
        return _output([*self._command, *arguments], env=self._environment, pass_fds=(self._lock,))


def _output(command, **options):
    """What the command prints; its last words are the error's text."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError as error:
        raise GuestImageError(f"{command[0]} is not installed (tools/lib/packages.txt, [build] and "
                              "[kernel])") from error
    if result.returncode != 0:
        tail = (result.stdout + result.stderr).splitlines()[-OUTPUT_TAIL_LINES:]
        raise GuestImageError(f"{' '.join(command)} ended with status {result.returncode}:\n" +
                              "\n".join(tail))
    return result.stdout
