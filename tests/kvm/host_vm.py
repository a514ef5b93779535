"""The VM that is a host with KVM."""

import shlex
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from guest_image import cpio, modules

QEMU = "qemu-system-x86_64"
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
BUSYBOX = Path("/bin/busybox")
INIT = Path(__file__).with_name("init")
SESSION = Path(__file__).with_name("session")
# To reach the file tree; everything else is loaded from there.
FIRST_MODULES = ("virtio_pci", "virtiofs", "overlay")
KERNEL_LOG = "kvm-host.log"
MEMORY_MIB = 6144
PROCESSORS = 2
# QEMU's TCG emulates AMD-V with nested paging, which Linux looks for in AMD's processors only.
CPU = "max,vendor=AuthenticAMD,+svm,+npt"


class HostFailed(Exception):
    """The host did not come to its end."""


class HostVm:
    """The host has this machine's file tree, and keeps in memory what it writes. `results`: a
    directory that is this machine's own there; `visible`: those that may be below /tmp, where the
    host has a file system of its own."""

    def __init__(self, kernel, results, visible):
        self._kernel = kernel
        self._results = results
        self._visible = visible

    def run(self, command, directory):
        """The status of a command in the host, whose output is ours."""
        status = self._results / "kvm-host.status"
        status.unlink(missing_ok=True)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kata-kvm-")))
            (scratch / "initramfs").write_bytes(self._initramfs(command, directory))
            share = self._serve_tree(stack, scratch)
            qemu = subprocess.run(self._qemu(scratch, share), stdin=subprocess.DEVNULL, check=False)
        if not status.exists():
            raise HostFailed("the host did not come to its end (QEMU ended with status "
                             f"{qemu.returncode}): see {self._results / KERNEL_LOG}")
        return int(status.read_text())

    def _initramfs(self, command, directory):
        settings = {"SESSION": SESSION, "MODULES": self._kernel.modules, "RESULTS": self._results,
                    "DIRECTORY": directory, "COMMAND": shlex.join(map(str, command)),
                    "VISIBLE": "\n".join(map(str, self._visible))}
        archive = cpio.Archive()
        archive.add_file("/init", INIT.read_bytes(), 0o755)
        archive.add_file("/settings", "".join(f"{name}={shlex.quote(str(value))}\n"
                                              for name, value in settings.items()).encode())
        archive.add_file("/bin/busybox", BUSYBOX.read_bytes(), 0o755)
        order = modules.load_order(FIRST_MODULES, self._kernel.available, self._kernel.built_in)
        for name, path in order:
            archive.add_file(f"/modules/{name}.ko", path.read_bytes())
        archive.add_file("/modules/order", "".join(f"{name}\n" for name, _ in order).encode())
        return archive.to_bytes()

    @staticmethod
    def _serve_tree(stack, scratch):
        """The socket of virtiofsd, which ends with QEMU."""
        path = str(scratch / "tree.socket")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(1)
        log = stack.enter_context(open(scratch / "tree.log", "wb"))
        process = stack.enter_context(subprocess.Popen(
            [VIRTIOFSD, f"--fd={listener.fileno()}", "-o", "source=/", "-o", "cache=auto",
             "-o", "sandbox=chroot"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            pass_fds=(listener.fileno(),)))
        # Of a QEMU that has not started.
        stack.callback(process.terminate)
        return path

    def _qemu(self, scratch, share):
        return [QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", str(PROCESSORS),
                "-m", str(MEMORY_MIB), "-numa", "node,memdev=memory",
                "-object", f"memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on",
                "-chardev", f"socket,id=tree,path={share}",
                "-device", "vhost-user-fs-pci,chardev=tree,tag=tree", "-device", "virtio-rng-pci",
                # The command's output, and the kernel's.
                "-serial", "stdio", "-serial", f"file:{self._results / KERNEL_LOG}",
                "-kernel", str(self._kernel.image), "-initrd", str(scratch / "initramfs"),
                # A host that hangs ends the VM.
                "-append", "console=ttyS1 softlockup_panic=1 panic=-1"]
