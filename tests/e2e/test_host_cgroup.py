"""The pod's control group on the host: where runc's processes are, ours are."""

import os
import re
from pathlib import Path

import pytest
from support import processes
from support.client import NAMESPACE

TIGHT_MIB = 48
OURS = ("containerd-shim", "qemu-system", "virtiofsd")


def _groups(process):
    """Path by hierarchy."""
    lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
    return {line.split(":")[1]: line.split(":", 2)[2] for line in lines}


def _started(leaks):
    found = {name: leaks.programs(name) for name in OURS}
    assert all(found.values()), found
    return [process for each in found.values() for process in each]


def test_shim_qemu_and_virtiofsd_are_in_it(runc, kata, leaks):
    """In each hierarchy in which runc's container is in the group that ctr has named, and in v2."""
    container = runc.start("sleep", "1000")
    path = f"/{NAMESPACE}/{container}"
    [sleeper] = [process for process in processes.mentioning([], path.rsplit("/", 1)[0])
                 if process.argv[0] == "sleep"]
    of_runc = [name for name, group in _groups(sleeper).items() if group == path]
    assert of_runc
    runc.remove(container)
    container = kata.start("sleep", "1000")
    for process in _started(leaks):
        groups = _groups(process)
        assert set(groups.values()) == {f"/{NAMESPACE}/{container}"}, (process, groups)
        assert set(of_runc) <= set(groups)
    kata.remove(container)


@pytest.fixture
def tight_group():
    """As kubelet makes a pod's, with a limit that no VM of ours can live with."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                        ("/sys/fs/cgroup", "memory.max")):
        if not Path(root).is_dir():
            continue
        group = Path(root) / f"kata-tight-{os.getpid()}"
        group.mkdir()
        if (group / limit).exists():
            (group / limit).write_text(f"{TIGHT_MIB << 20}")
            break
        group.rmdir()
    else:
        pytest.skip("this host has no memory controller")
    yield group
    # The other hierarchies have it, too: the shim has made it there.
    for each in {*Path("/sys/fs/cgroup").glob(f"*/{group.name}"), group}:
        if each.exists():
            each.rmdir()


@pytest.mark.parametrize("template", ["off", "auto"])
def test_limit_below_what_a_vm_needs(kata, kata_config, ctr_spec, containerd, tight_group,
                                     template):
    """Whoever is ended, there is an error, and the log has the cause, the limit and the remedy."""
    kata_config.change(factory={"template": template})
    spec = ctr_spec("true")
    spec["linux"]["cgroupsPath"] = f"/{tight_group.name}/pod"
    log_begin = containerd.log_path.stat().st_size
    refused = kata.run_spec(ctr_spec.write(spec))
    assert refused.status != 0, refused
    with open(containerd.log_path, "rb") as log:
        log.seek(log_begin)
        said = refused.error + log.read().decode(errors="replace")
    assert re.search(rf"need more memory than the limit of {TIGHT_MIB} MiB in {tight_group}: raise "
                     "the pod's limits, or the overhead of its RuntimeClass", said), said


def test_none_is_wanted(kata, kata_config, leaks):
    kata_config.change(runtime={"sandbox_cgroup_only": False})
    container = kata.start("sleep", "1000")
    for process in _started(leaks):
        assert not [group for group in _groups(process).values() if container in group], process
    kata.remove(container)


def test_a_path_that_leads_out(kata, ctr_spec):
    spec = ctr_spec("true")
    spec["linux"]["cgroupsPath"] = "/../.."
    refused = kata.run_spec(ctr_spec.write(spec))
    assert refused.status == 1 and 'cgroupsPath: "/../.." names no group' in refused.error, refused
