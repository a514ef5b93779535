"""The pod's control group on the host: where runc's processes are, ours are."""

from pathlib import Path

from support import processes
from support.client import NAMESPACE

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
