import tomllib

import pytest

import handler_block

BODY = handler_block.handler_table(2, "kata")
TEXTS = ("", "version = 2\n", "version = 2", "version = 2\r\n[grpc]\r\n  gid = 1\r\n", "# only a comment",
         "version = 2\n\n\n", "\n")


@pytest.mark.parametrize("text", TEXTS)
def test_a_block_comes_and_goes_without_a_trace(text):
    written = handler_block.appended(text, BODY)
    runtimes = tomllib.loads(written)["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["kata"]["runtime_type"] == "io.containerd.kata.v2"
    assert handler_block.find(written) == handler_block.Block(BODY, edited=False)
    assert handler_block.without(written) == text


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_below_the_block_stays(text):
    written = handler_block.appended(text, BODY) + "[metrics]\n"
    left = handler_block.without(written)
    assert tomllib.loads(left) == {**tomllib.loads(text), "metrics": {}}


def test_a_file_of_our_own_goes():
    written = handler_block.as_file(3, BODY)
    assert tomllib.loads(written)["version"] == 3
    assert handler_block.without(written) is None
    assert handler_block.without(written + "[metrics]\n") == "version = 3\n[metrics]\n"


def test_an_edit_is_noticed():
    written = handler_block.appended("", BODY).replace("= true", "= false")
    assert handler_block.find(written).edited


@pytest.mark.parametrize("text", (None, "", "[grpc]\n", "# >>> kata-cpp\n# <<< kata-cpp\n"))
def test_there_is_no_block(text):
    assert handler_block.find(text) is None


def test_containerds_own_handlers_are_repeated():
    shown = {"runtime_type": "io.containerd.runc.v2", "runtime_path": "", "pod_annotations": ["a", "b"],
             "cni_max_conf_num": 0, "options": {"SystemdCgroup": True, "BinaryName": ""}}
    parsed = tomllib.loads(handler_block.table(2, "runc", shown))
    assert parsed["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"] == {
        "runtime_type": "io.containerd.runc.v2", "pod_annotations": ["a", "b"],
        "options": {"SystemdCgroup": True}}
