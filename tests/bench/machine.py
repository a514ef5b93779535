"""The machine that is measured on. Nothing here names it or its users."""

import os
import re
import subprocess
from pathlib import Path

PROGRAMS = {"QEMU": "qemu-system-x86_64", "containerd": "containerd", "runc": "runc",
            "runsc": "runsc", "fio": "fio"}
VERSION = re.compile(r"\d+\.\d\S*")


def to_json(load_before):
    return {"kernel": os.uname().release, "cpus": len(os.sched_getaffinity(0)),
            "load_before": round(load_before, 2)}


def facts(load_before, qemu_argv, guest_kernel):
    """More of it, for figures that others read; qemu_argv: of a pod of our runtime."""
    options = dict(zip(qemu_argv, qemu_argv[1:]))
    return {"cpu": _cpu_model(Path("/proc/cpuinfo").read_text()), **to_json(load_before),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "accelerator": options["-accel"], "guest_kernel": guest_kernel,
            "guest_cpus": options["-smp"], "guest_memory": options["-m"],
            "versions": {name: version for name, program in PROGRAMS.items()
                         if (version := _version(program))}}


def load_text(load_before):
    cpus = len(os.sched_getaffinity(0))
    if load_before <= cpus / 2:
        return ""
    return (f"The machine was not idle: load {load_before:.1f} on {cpus} CPUs before the "
            "first run.")


def _cpu_model(cpuinfo):
    found = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else os.uname().machine


def _version(program):
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    found = VERSION.search(said)
    return found.group() if found else said.strip()
