"""Fixtures of the real-software runs: those of the end-to-end tests, and an image of Debian."""

import importlib.util
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/e2e"), str(REPOSITORY / "guest-image"),
                str(REPOSITORY / "tools/lib")]

# Both files have the name that pytest wants, so that this one needs another.
_SPEC = importlib.util.spec_from_file_location("e2e_conftest", REPOSITORY / "tests/e2e/conftest.py")
sys.modules["e2e_conftest"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(sys.modules["e2e_conftest"])

# pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import
from e2e_conftest import *
from guest_image.kernel_package import cache_directory

import debian_image
from support.client import NAMESPACE

IMPORT_DEADLINE_S = 600


@pytest.fixture(scope="session")
def debian(containerd):
    """The image's name; made when the cache does not have it."""
    archive = debian_image.prepare(cache_directory() / "debian")
    # For one snapshotter: the other one would copy all of it for every container.
    containerd.ctr("image", "import", "--snapshotter", containerd.snapshotters()[0], archive,
                   namespace=NAMESPACE, timeout=IMPORT_DEADLINE_S)
    return debian_image.NAME
