"""Many pods at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.cri import NAMESPACE

PODS = 30
AT_ONCE = 10


@pytest.mark.slow
@pytest.mark.deadline(1800)
@pytest.mark.parametrize("runtime", ["runc", "kata"])
def test_pods_come_and_go(runtime, cri, cri_containerd, kata_config):
    """Ten are under way at any time; each has an address of its own, and runs what it is told."""
    kata_config.change(factory={"template": "auto"})

    def life(number):
        pod = cri.run_pod(runtime)
        container = pod.start("sleep", "1000")
        ran = container.sh(f"hostname; echo {number}")
        address = pod.ip
        pod.stop()
        pod.remove()
        return ran.text, f"{pod.config['hostname']}\n{number}\n", address

    with ThreadPoolExecutor(max_workers=AT_ONCE) as workers:
        lives = list(workers.map(life, range(PODS)))
    assert [text for text, _, _ in lives] == [expected for _, expected, _ in lives]
    assert len({address for _, _, address in lives}) == PODS
    assert cri_containerd[0].ctr("tasks", "ls", "-q", namespace=NAMESPACE).stdout == ""
