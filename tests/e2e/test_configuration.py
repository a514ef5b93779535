"""Where a pod's settings come from: the file, its drop-ins, containerd's options, annotations."""

import re

import pytest

ANNOTATION = "io.katacontainers.config"
MEMORY = f"{ANNOTATION}.hypervisor.default_memory"
MEMORY_MIB = 640
# Of a guest's memory its kernel keeps a part for itself.
KERNEL_SHARE_MIB = 96


def annotated(name, value):
    return ("--annotation", f"{name}={value}")


def total_memory_mib(outcome):
    return int(re.search(r"MemTotal: +(\d+) kB", outcome.text)[1]) // 1024


def test_annotation_that_a_drop_in_enables(kata, kata_config):
    kata_config.change(hypervisor={"default_memory": 200, "kernel_params": "a.file=1 b.file=1"})
    kata_config.drop_in("10-first.toml", enable_annotations=["no_such_key"])
    kata_config.drop_in("20-last.toml", enable_annotations=["default_memory", "kernel_.*"])
    outcome = kata.sh("cat /proc/meminfo /proc/cmdline",
                      flags=(*annotated(MEMORY, MEMORY_MIB),
                             *annotated(f"{ANNOTATION}.hypervisor.kernel_params", "b.file=2")))
    assert outcome.status == 0, outcome
    assert MEMORY_MIB - KERNEL_SHARE_MIB < total_memory_mib(outcome) <= MEMORY_MIB, outcome
    assert outcome.text.rstrip().endswith(" a.file=1 b.file=2"), outcome


REFUSED = {
    "not enabled": ({"enable_annotations": ["default_vcpus"]}, MEMORY, 512,
                    [MEMORY, "is not enabled", "enable_annotations", "20-last.toml"]),
    "misspelt": ({"enable_annotations": [".*"]}, f"{ANNOTATION}.hypervisor.default_memroy", 512,
                 ["default_memroy is not supported", f"nearest known one is {MEMORY}"]),
    "of Kata, but not of ours": ({"enable_annotations": [".*"]},
                                 f"{ANNOTATION}.runtime.sandbox_cgroup_only", "true",
                                 ["runtime.sandbox_cgroup_only is not supported"]),
    "out of range": ({"enable_annotations": [".*"]}, MEMORY, 1,
                     [MEMORY, "default_memory is 1, must be from 128"]),
    "a path out of the list": ({"enable_annotations": [".*"],
                                "valid_hypervisor_paths": ["/usr/bin/qemu-*"]},
                               f"{ANNOTATION}.hypervisor.path", "/usr/bin/qemu-x/../sh",
                               ["hypervisor.path", "/usr/bin/qemu-x/../sh", "is not allowed",
                                "valid_hypervisor_paths"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_annotation(kata, kata_config, case):
    drop_in, name, value, parts = REFUSED[case]
    kata_config.drop_in("20-last.toml", **drop_in)
    outcome = kata.run("true", flags=annotated(name, value))
    assert outcome.status == 1, outcome
    assert [part for part in parts if part not in outcome.error] == [], outcome


def test_wrong_drop_in_is_named(kata, kata_config):
    path = kata_config.drop_in("30-mine.toml", default_memroy=512)
    outcome = kata.run("true")
    assert outcome.status == 1, outcome
    assert str(path) in outcome.error and "'default_memory'" in outcome.error, outcome


def test_config_path(kata, kata_config, tmp_path):
    """ctr's --runtime-config-path is containerd's option ConfigPath; it comes before KATA_CONF_FILE,
    whose file is one that nothing starts with."""
    kata_config.change(hypervisor={"kernel": "/no/such/kernel"})
    kata_config.write(tmp_path / "other.toml", hypervisor={"kernel_params": "of.other=1"})
    outcome = kata.run("cat", "/proc/cmdline",
                       flags=("--runtime-config-path", str(tmp_path / "other.toml")))
    assert outcome.status == 0, outcome
    assert outcome.text.rstrip().endswith(" of.other=1"), outcome


def test_config_path_that_is_not_there(kata, tmp_path):
    outcome = kata.run("true", flags=("--runtime-config-path", str(tmp_path / "none.toml")))
    assert outcome.status == 1, outcome
    for part in ("options", str(tmp_path / "none.toml"), "No such file"):
        assert part in outcome.error, outcome
