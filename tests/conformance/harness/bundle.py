"""Bundles: a config.json and a rootfs with busybox, the probe and the files of the row."""

import contextlib
import json
import os
import shutil
from pathlib import Path

from oci_image import make_root
from support.client import NAMESPACE

from .rows import HERE

# Read by rows; see there.
SCRIPTS = {"bin/mountinfo": HERE / "guest/mountinfo"}


class Bundles:
    """Below one directory, which is of one file system: busybox is linked, not copied."""

    def __init__(self, directory, probe):
        self._directory = directory
        self._template = directory / "template"
        make_root(self._template, {"bin/probe": probe, **SCRIPTS})

    @contextlib.contextmanager
    def make(self, container, row):
        """The directory of a new bundle for `row`, until the end of the `with`."""
        bundle = self._directory / container
        shutil.copytree(self._template, bundle / "rootfs", symlinks=True, copy_function=_copy)
        for path, content in row.files.items():
            _add(bundle / "rootfs" / path, content)
        config = json.dumps(row.config)
        for name, value in (("bundle", bundle), ("id", container), ("namespace", NAMESPACE)):
            config = config.replace(f"@{name}@", str(value))
        (bundle / "config.json").write_text(config)
        yield bundle
        shutil.rmtree(bundle)


def _copy(source, target):
    """What a container may write to is its own."""
    if Path(source).parent.name == "bin":
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _add(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    match content:
        case {"link": target}:
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.symlink_to(target)
        case {"directory": mode}:
            path.mkdir(exist_ok=True)
            path.chmod(mode)
        case str():
            path.write_text(content)
        case _:
            raise ValueError(f"{path}: {content}")
