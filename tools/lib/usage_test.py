import os

import pytest
import usage


def test_own_process():
    before = usage.of_process(os.getpid())
    assert before.threads >= 1 and before.rss_kb > 1000
    with open("/dev/null"):
        assert usage.of_process(os.getpid()).descriptors == before.descriptors + 1


def test_container_without_a_shim():
    with pytest.raises(usage.NoShim, match="no-such-container"):
        usage.of_shim("no-such-container")
