import pytest
from benchmarks import pod_memory
from memory import Usage


def test_sums_are_per_pod():
    pods = [Usage("qemu-system-x86_64", 80, ()), Usage("containerd-shim-kata-v2", 9, ()),
            Usage("qemu-system-x86_64", 70, ()), Usage("containerd-shim-kata-v2", 10, ()),
            Usage("virtiofsd", 1, ())]
    assert pod_memory.per_pod(pods, 2) == {"pod_of_2": 85, "shim_of_2": pytest.approx(9.5)}
