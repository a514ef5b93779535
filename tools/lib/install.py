"""tools/install: puts shim, kata-runtime, guest image and configuration under a prefix, where a
system containerd finds io.containerd.kata.v2 on its PATH; --uninstall takes them away again."""

import argparse
import subprocess
import sys
from pathlib import Path

import installed_files
import packages
import project
from progress import Progress

GUEST_DIRECTORY = Path("share/kata-containers")
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
        prepare(Progress("install", project.LOGS))
    try:
        if arguments.uninstall:
            uninstall(prefix)
        else:
            install(prefix, shipped_files())
    except PermissionError as error:
        sys.exit(f"install: {error.filename}: permission denied; {prefix} needs root, or choose a "
                 "directory of your own with --prefix")


def prepare(progress, *more_packages):
    """Builds what is shipped; `more_packages`: groups of packages.txt besides the build's."""
    with progress.stage("packages", failures=(packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "build", *more_packages)
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
    files[installed_files.DEFAULTS_DIRECTORY / "configuration.toml"] = (
        project.TOP / "deploy/configuration.toml")
    return files


def install(prefix, files):
    installed_files.install(prefix, files, strip)


def uninstall(prefix):
    installed_files.uninstall(prefix)


def strip(place, file):
    """Debugging information is most of the build's programs."""
    if place.parts[0] in ("bin", "lib"):
        subprocess.run(["strip", "--strip-unneeded", file], check=True)


if __name__ == "__main__":
    main()
