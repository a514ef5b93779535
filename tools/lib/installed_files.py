"""Files under a prefix, with a manifest of what is there because of us: so that they go again, and
nothing else does. tools/install and the nodes' installer (deploy/installer) share it."""

import hashlib
import json
import shutil
from pathlib import Path

MANIFEST = Path("share/kata-containers/installed.json")
DEFAULTS_DIRECTORY = Path("share/defaults/kata-containers")
# In the manifest instead of a hash: an installation has begun with this file and not ended.
UNFINISHED = None


def install(prefix, files, prepare=lambda place, file: None):
    """`files`: place under the prefix -> its source; prepare(place, copy) changes the copy before it
    is put there. Files of an earlier installation that are not among `files` go. A running shim keeps
    the binary that it was started from; a configuration that somebody has edited is kept."""
    before = read_manifest(prefix)
    remove_files(prefix, {place: hashed for place, hashed in before["files"].items()
                          if Path(place) not in files})
    kept = {place: hashed for place, hashed in before["files"].items()
            if Path(place) in files and DEFAULTS_DIRECTORY in Path(place).parents
            and is_edited(prefix / place, hashed)}
    directories = set(before["directories"])
    for place in (*files, MANIFEST):
        directories |= make_directories(prefix, place.parent)
    _write_manifest(prefix, {**{str(place): UNFINISHED for place in files}, **kept}, directories)
    hashes = dict(kept)
    for place, source in sorted(files.items()):
        if str(place) in kept:
            print(f"kept      {prefix / place}: changed since it was installed")
            continue
        _copy(source, prefix / place, place, prepare)
        hashes[str(place)] = hash_of(prefix / place)
        print(f"installed {prefix / place}")
    _write_manifest(prefix, hashes, directories)


def uninstall(prefix):
    installed = read_manifest(prefix)
    if not installed["files"]:
        print(f"nothing of ours is installed under {prefix}")
        return
    remove_files(prefix, installed["files"])
    for path in (_partial(prefix / MANIFEST), prefix / MANIFEST):
        path.unlink(missing_ok=True)
    # The deepest first; one that holds something else stays.
    for directory in sorted(installed["directories"], reverse=True):
        if (prefix / directory).is_dir() and not any((prefix / directory).iterdir()):
            (prefix / directory).rmdir()


def read_manifest(prefix):
    """What an earlier run installed: files with their hashes, and the directories that it made."""
    try:
        return json.loads((prefix / MANIFEST).read_text())
    except FileNotFoundError:
        return {"files": {}, "directories": []}


def _write_manifest(prefix, hashes, directories):
    _partial(prefix / MANIFEST).write_text(
        json.dumps({"files": hashes, "directories": sorted(directories)}, indent=2) + "\n")
    _partial(prefix / MANIFEST).rename(prefix / MANIFEST)


def remove_files(prefix, hashes):
    """A file that was edited since is its editor's."""
    for place, installed_hash in hashes.items():
        path = prefix / place
        _partial(path).unlink(missing_ok=True)
        if not path.exists():
            continue
        if is_edited(path, installed_hash):
            print(f"kept      {path}: changed since it was installed")
            continue
        path.unlink()
        print(f"removed   {path}")


def is_edited(path, installed_hash):
    return installed_hash != UNFINISHED and path.exists() and hash_of(path) != installed_hash


def make_directories(prefix, place):
    """Creates prefix/place; returns the directories that were not there, relative to the prefix."""
    missing = {str(directory) for directory in (place, *place.parents)
               if not (prefix / directory).exists()}
    (prefix / place).mkdir(parents=True, exist_ok=True)
    return missing


def mode_of(place):
    return 0o755 if place.parts[0] == "bin" else 0o644


def _copy(source, destination, place, prepare):
    """In one step for whoever starts a container meanwhile."""
    partial = _partial(destination)
    shutil.copyfile(source, partial)
    prepare(place, partial)
    partial.chmod(mode_of(place))
    partial.rename(destination)


def _partial(path):
    return path.with_name(f".{path.name}.partial")


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
