"""The floor: the VM that our runtime would start, without anything of ours in it."""

import subprocess
import time
from dataclasses import dataclass

import timed_output
from guest_image import cpio, image

LINE = b"PID 1"
# Of our runtime's command line, what makes the machine. The rest are devices, sockets and a name.
KEPT = ("-nodefaults", "-no-user-config", "-no-reboot", "-display", "-sandbox", "-machine", "-accel",
        "-cpu", "-smp", "-m", "-rtc", "-kernel", "-append")


class FloorError(Exception):
    pass


@dataclass(frozen=True)
class FloorRun:
    total_ms: float  # from the start of QEMU to its exit
    pid1_ms: float   # … to the line of PID 1


def write_initramfs(path, init):
    archive = cpio.Archive()
    archive.add_file("/init", init.read_bytes(), 0o755)
    path.write_bytes(archive.to_bytes())
    return path


def write_initramfs_with_modules(path, init, guest):
    """With those that the agent loads in this guest image, for an init that needs vsock."""
    path.write_bytes(image.assemble(init, image.kernel_of(guest)))
    return path


def qemu_argv(processes):
    """Of the pod's memory.Usages, the command line of its QEMU."""
    for usage in processes:
        if usage.program.startswith("qemu-system"):
            return usage.argv
    raise FloorError("our runtime's pod has no QEMU whose command line the floor could use")


def command_line(runtime_argv, initramfs):
    """From the command line of a QEMU of our runtime: same machine, memory and kernel."""
    argv = [runtime_argv[0]]
    for option, values in _options(runtime_argv[1:]):
        is_memory = option == "-object" and values[0].startswith("memory-backend-")
        if option in KEPT or is_memory:
            argv += [option, *values]
    return [*argv, "-initrd", str(initramfs), "-serial", "stdio"]


def _options(arguments):
    """(option, its values): none or one."""
    options = []
    for argument in arguments:
        if argument.startswith("-"):
            options.append((argument, []))
        else:
            options[-1][1].append(argument)
    return options


def run(argv, line=LINE):
    """line: printed by PID 1 when it has come as far as it should."""
    began = time.perf_counter()
    pid1 = None
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        output = b""
        try:
            # Ends when QEMU does.
            for chunk in timed_output.chunks(process.stdout.fileno(), argv):
                output += chunk
                if pid1 is None and line in output:
                    pid1 = time.perf_counter()
            status = process.wait(timed_output.DEADLINE_S)
        except BaseException:
            process.kill()
            raise
    ended = time.perf_counter()
    if status != 0 or pid1 is None:
        raise FloorError(f"the floor's VM ended with status {status}: "
                         f"{output.decode(errors='replace').strip()[-500:]}")
    return FloorRun((ended - began) * 1000, (pid1 - began) * 1000)
