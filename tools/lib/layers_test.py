import pytest

import layers


@pytest.mark.parametrize("path, included", [
    ("shim/service/task.cc", "runtime/sandbox/sandbox.h"),
    ("shim/command/serve.cc", "shim/ttrpc/server.h"),
    ("shim/ttrpc/server.cc", "common/error/error.h"),
    ("shim/service/task.cc", "shim.pb.h"),
    ("runtime/sandbox/sandbox.cc", "runtime/storage/share.h"),
    ("runtime/storage/share.h", "runtime/hypervisor/device.h"),
    ("runtime/agent_client/grpc_agent.cc", "agent.grpc.pb.h"),
    ("agent/rpc/service.cc", "agent/container/container.h"),
    ("agent/main.cc", "agent/rpc/service.h"),
    ("runtime/sandbox/sandbox_test.cc", "tests/fakes/fake_pod.h"),
])
def test_allowed(path, included):
    assert layers.refusal(path, included, ours=True) is None


@pytest.mark.parametrize("path, included", [
    ("common/sys/loop.cc", "runtime/config/config.h"),
    ("agent/sandbox/sandbox.cc", "runtime/sandbox/sandbox.h"),
    ("runtime/sandbox/sandbox.cc", "agent/container/container.h"),
    ("runtime/sandbox/sandbox.cc", "shim/io/copier.h"),
    ("runtime/storage/share.cc", "runtime/hypervisor/hypervisor.h"),
    ("runtime/hypervisor/qemu.cc", "runtime/vsock/vsock.h"),
    ("shim/ttrpc/server.cc", "runtime/sandbox/sandbox.h"),
    ("shim/service/task.cc", "agent/rpc/service.h"),
    ("shim/command/serve.cc", "shim.pb.h"),
    ("agent/container/container.cc", "agent.pb.h"),
    ("runtime/sandbox/sandbox.cc", "tests/fakes/fake_pod.h"),
])
def test_refused(path, included):
    assert layers.refusal(path, included, ours=True)


def test_libraries_stay_at_the_edges():
    assert layers.refusal("runtime/sandbox/sandbox.cc", "grpcpp/grpcpp.h", ours=False)
    assert layers.refusal("common/sys/loop.cc", "libvirt/libvirt.h", ours=False)
    assert layers.refusal("agent/rpc/service.cc", "grpcpp/grpcpp.h", ours=False) is None
    assert layers.refusal("common/sys/loop.cc", "boost/asio.hpp", ours=False) is None


def test_the_message_names_file_and_line():
    text = '#pragma once\n#include <vector>\n  # include "agent/rpc/service.h"\n'
    assert list(layers.check_file("runtime/cli/check.cc", text)) == [
        "runtime/cli/check.cc:3: runtime/cli must not include agent/rpc/service.h "
        "(it sees common, runtime/cli, runtime)"]
