"""A node whose containerd has the CRI plugin, and pods on it as kubelet asks for them."""

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from oci_image import BUSYBOX_IMAGE
from support.cni import Node
from support.cri import EXITED, NAMESPACE, Cri, containerd_config
from support.images import with_config

PAUSE_IMAGE = "localhost/pause:latest"
EXIT_DEADLINE_S = 120


@pytest.fixture(scope="session")
def node(session_directory):
    """Whose bridge CRI's CNI makes: containerd runs in its namespace."""
    made = Node(f"kc{os.getpid()}", session_directory / "cri-cni")
    configurations = session_directory / "cri-net.d"
    configurations.mkdir()
    (configurations / "10-bridge.conflist").write_text(json.dumps(made.configuration_list()))
    yield made
    made.close()


@pytest.fixture(scope="session")
def make_cri(node, make_containerd, containerd, leaks, image_archive, session_directory):
    """`with make_cri("name") as (containerd, cri):` options are PrivateContainerd's."""
    @contextlib.contextmanager
    def make(name, **options):
        config = containerd_config(session_directory / "cri-net.d", PAUSE_IMAGE,
                                   containerd.snapshotters()[0])
        pause = with_config(image_archive, session_directory / "pause.tar", PAUSE_IMAGE,
                            Cmd=["sleep", "1000000"])
        with make_containerd(name, enter=("nsenter", f"--net=/run/netns/{node.name}"), cri=True,
                             extra_config=config, **options) as running:
            leaks.spare(running)
            for archive in (image_archive, pause):
                running.import_image(archive, namespace=NAMESPACE)
            service = Cri(running.address, session_directory, BUSYBOX_IMAGE, node)
            yield running, service
            service.close()
    return make


@pytest.fixture(scope="session")
def cri_containerd(make_cri):
    with make_cri("cri") as made:
        yield made


@pytest.fixture(scope="session")
def cri(cri_containerd):
    return cri_containerd[1]


@pytest.fixture(autouse=True)
def pods_leave_nothing(cri_containerd, leak_check):
    """What the leak check does not know: this containerd's tasks, and CRI's cgroups."""
    yield
    containerd = cri_containerd[0]
    assert containerd.ctr("tasks", "ls", "-q", namespace=NAMESPACE).stdout == ""
    assert containerd.ctr("containers", "ls", "-q", namespace=NAMESPACE).stdout == ""
    assert [path for path in Path("/sys/fs/cgroup").glob(f"*/{NAMESPACE}/*") if path.is_dir()] == []


@pytest.fixture(params=["runc", "kata"])
def run_pod(request, leak_check, cri):
    """run_pod(…): a pod under the row's runtime, which is stopped and removed in the end."""
    pods = []

    def run(**options):
        pods.append(cri.run_pod(request.param, **options))
        return pods[-1]
    run.runtime = request.param
    yield run
    for pod in pods:
        pod.stop()
        pod.remove()


@pytest.fixture(scope="session")
def wait_exited():
    """wait_exited(container): its status. CRI has no call that waits: kubelet asks again and again,
    too."""
    def wait(container):
        end = time.monotonic() + EXIT_DEADLINE_S
        while (status := container.status).state != EXITED:
            assert time.monotonic() < end, f"has not ended: {status}"
            time.sleep(0.1)
        return status
    return wait
