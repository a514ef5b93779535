"""tools/install: puts shim, kata-runtime, guest image and configuration under a prefix, where a
system containerd finds io.containerd.kata.v2 on its PATH; --uninstall takes them away again."""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import packages
import project
from progress import Progress

MANIFEST = Path("share/kata-containers/installed.json")
GUEST_DIRECTORY = Path("share/kata-containers")
DEFAULTS_DIRECTORY = Path("share/defaults/kata-containers")
MODULE_DIRECTORY = Path("lib/kata-containers")


def main():
    parser = argparse.ArgumentParser(prog="tools/install", description="Installs the shim, "
                                     "kata-runtime, the guest image and configuration.toml.")
    parser.add_argument("--prefix", type=Path, default=Path("/usr/local"), metavar="DIR",
                        help="default: %(default)s")
    parser.add_argument("--uninstall", action="store_true",
                        help="remove what an earlier run installed under the prefix")
    arguments = parser.parse_args()
    prefix = arguments.prefix.absolute()
    if not arguments.uninstall:
        prepare()
    try:
        if arguments.uninstall:
            uninstall(prefix)
        else:
            install(prefix, shipped_files())
    except PermissionError as error:
        sys.exit(f"install: {error.filename}: permission denied; {prefix} needs root, or choose a "
                 "directory of your own with --prefix")


def prepare():
    progress = Progress("install", project.LOGS)
    with progress.stage("packages", failures=(packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "build")
    with progress.stage("configure") as stage:
        project.configure(stage)
    with progress.stage("build") as stage:
        project.compile_targets(stage, *(project.target(name) for name in project.PROGRAMS),
                                *project.host_modules())
    with progress.stage("guest image") as stage:
        project.build_guest_image(stage)


def shipped_files(build=project.BUILD):
    """Place under the prefix -> file of the build."""
    files = {Path("bin") / name: project.target(name, build)
             for name in (project.SHIM, project.RUNTIME)}
    for module in project.host_modules(build):
        files[MODULE_DIRECTORY / module.name] = module
    for name in ("vmlinux", "kata-initrd.img"):
        files[GUEST_DIRECTORY / name] = build / "guest" / name
    files[DEFAULTS_DIRECTORY / "configuration.toml"] = project.TOP / "deploy/configuration.toml"
    return files


def install(prefix, files):
    """Files of an earlier installation that are not among `files` go. A running shim keeps the
    binary that it was started from."""
    before = read_manifest(prefix)
    remove_files(prefix, {place: hashed for place, hashed in before["files"].items()
                          if Path(place) not in files})
    made = set(before["directories"])
    hashes = {}
    for place, source in sorted(files.items()):
        made |= make_directories(prefix, place.parent)
        copy(source, prefix / place, executable=place.parts[0] == "bin",
             strip=place.parts[0] in ("bin", "lib"))
        hashes[str(place)] = hash_of(prefix / place)
        print(f"installed {prefix / place}")
    (prefix / MANIFEST).write_text(
        json.dumps({"files": hashes, "directories": sorted(made)}, indent=2) + "\n")


def uninstall(prefix):
    installed = read_manifest(prefix)
    if not installed["files"]:
        print(f"nothing of ours is installed under {prefix}")
        return
    remove_files(prefix, installed["files"])
    (prefix / MANIFEST).unlink()
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


def remove_files(prefix, hashes):
    """A file that was edited since is its editor's."""
    for place, installed_hash in hashes.items():
        path = prefix / place
        if not path.exists():
            continue
        if hash_of(path) != installed_hash:
            print(f"kept      {path}: changed since it was installed")
            continue
        path.unlink()
        print(f"removed   {path}")


def make_directories(prefix, place):
    """Creates prefix/place; returns the directories that were not there, relative to the prefix."""
    missing = {str(directory) for directory in (place, *place.parents)
               if not (prefix / directory).exists()}
    (prefix / place).mkdir(parents=True, exist_ok=True)
    return missing


def copy(source, destination, executable, strip):
    """In one step for whoever starts a container meanwhile."""
    partial = destination.with_name(f".{destination.name}.partial")
    shutil.copyfile(source, partial)
    if strip:
        subprocess.run(["strip", "--strip-unneeded", partial], check=True)
    partial.chmod(0o755 if executable else 0o644)
    partial.rename(destination)


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
