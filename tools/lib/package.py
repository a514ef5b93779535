"""tools/package: makes the Debian package kata-cpp, and beside it the directory from which the image
of the nodes' installer is built (deploy/installer).

The same build and commit give the same bytes: every time in the package is the commit's, or
SOURCE_DATE_EPOCH where that is set.
"""

import argparse
import json
import os
import re
import shutil
import string
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import debian_package
import install
import installed_files
import packages
import project
from progress import CommandFailed, Progress

NAME = "kata-cpp"
DEBIAN = project.TOP / "deploy/debian"
OUT = project.BUILD / "package"
DOCUMENTATION = Path("share/doc") / NAME
EXAMPLES = ("runtimeclass.yaml", "containerd/v2.toml", "containerd/v3.toml")
INSTALLER = project.TOP / "deploy/installer"
# Headers and static libraries of the packages [build] go into the programs; this one is loaded.
DYNAMIC = "libvirt-dev"
HEADERS_ONLY = ("nlohmann-json3-dev",)
# Beside the package, for whoever builds the image of deploy/installer.
CONTEXT = "installer"
# In it: what tools/install would put under a prefix.
FILES = "kata-cpp"


class PackageError(Exception):
    """The package cannot be made from this tree; the text says what to do."""


@dataclass(frozen=True)
class Release:
    version: str
    epoch: int
    maintainer: str


def main():
    parser = argparse.ArgumentParser(prog="tools/package", description="Makes the Debian package "
                                     f"{NAME}, and the context of the installer's image.")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="default: %(default)s")
    arguments = parser.parse_args()
    progress = Progress("package", project.LOGS)
    install.prepare(progress, "package")
    out = arguments.out.absolute()
    with progress.stage("package", failures=(PackageError, CommandFailed)) as stage:
        context = make_installer_context(out, project.BUILD)
        package = make(stage.run, out, project.BUILD, release())
    progress.finish()
    print(f"package:           {package}\ninstaller's image: {context}")


def release():
    """What is packaged: of a commit without the version's tag, a version that sorts before it."""
    project_version = project.version()
    tag = git("tag", "--points-at", "HEAD", "--list", f"v{project_version}")
    commit_time, commit, author = git("show", "--no-patch", "--format=%ct%n%h%n%an <%ae>",
                                      "HEAD").splitlines()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", commit_time))
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(int(commit_time)))
    version = project_version if tag else f"{project_version}~git{stamp}.{commit}"
    name, address = os.environ.get("DEBFULLNAME"), os.environ.get("DEBEMAIL")
    return Release(f"{version}-1", epoch, f"{name} <{address}>" if name and address else author)


def git(*arguments):
    result = subprocess.run(["git", "-C", project.TOP, *arguments], capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        raise PackageError(f"git {arguments[0]}: {result.stderr.strip()}: the package's version and "
                           "times are those of a commit: run this in a clone")
    return result.stdout.strip()


def make(run, out, build, made):
    """Returns the package's file below `out`, of the files that the installer's context there has."""
    package = out / f"{NAME}_{made.version}_amd64.deb"
    with tempfile.TemporaryDirectory(prefix="package-", dir=out) as directory:
        root = Path(directory)
        shutil.copytree(out / CONTEXT / FILES, root / "usr")
        add_documentation(root / "usr/share/doc" / NAME, build / "guest/manifest.json", made)
        overrides = root / "usr/share/lintian/overrides"
        overrides.mkdir(parents=True)
        shutil.copy(DEBIAN / "lintian-overrides", overrides / NAME)
        depends, suggests = debian_package.library_dependencies(
            sorted((root / "usr/bin").iterdir()), sorted((root / "usr/lib").rglob("*.so")))
        debian_package.add_control(root, (DEBIAN / "control").read_text(), {
            "version": made.version, "maintainer": made.maintainer, "depends": depends,
            "suggests": suggests,
            "static_built_using": debian_package.sources_of(static_libraries())})
        debian_package.pack(run, root, package, made.epoch)
    return package


def add_documentation(directory, guest_manifest, made):
    # The benchmarks' tables and plots are for who works on it.
    shutil.copytree(project.TOP / "docs", directory / "docs",
                    ignore=shutil.ignore_patterns("benchmarks"))
    shutil.copy(project.TOP / "README.md", directory)
    for example in EXAMPLES:
        place = directory / "examples" / example
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.TOP / "deploy" / example, place)
    changed = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(made.epoch))
    debian_package.compress(directory / "changelog.gz",
                            (project.TOP / "CHANGELOG.md").read_text())
    debian_package.compress(directory / "changelog.Debian.gz",
                            f"{NAME} ({made.version}) unstable; urgency=medium\n\n"
                            f"  * See changelog.gz.\n\n -- {made.maintainer}  {changed}\n")
    kernel = json.loads(guest_manifest.read_text())["kernel"]["package"]
    (directory / "copyright").write_text(
        string.Template((DEBIAN / "copyright").read_text()).substitute(kernel_package=kernel))
    debian_package.compress(directory / "libraries.copyright.gz",
                            debian_package.copyright_of(static_libraries()))


def static_libraries():
    """The packages whose code is in the programs."""
    return [name for name in packages.names("build")
            if name in HEADERS_ONLY or re.fullmatch("(lib.*|zlib1g)-dev", name) and name != DYNAMIC]


def make_installer_context(out, build):
    """What deploy/installer/Containerfile copies."""
    context = out / CONTEXT
    shutil.rmtree(context, ignore_errors=True)
    for place, source in install.shipped_files(build).items():
        copy = context / FILES / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        install.strip(place, copy)
        copy.chmod(installed_files.mode_of(place))
    (context / "program").mkdir()
    for source in (*INSTALLER.glob("*.py"), project.TOP / "tools/lib/installed_files.py"):
        if not source.name.endswith("_test.py") and source.name != "conftest.py":
            shutil.copy(source, context / "program")
    shutil.copy(INSTALLER / "Containerfile", context)
    return context


if __name__ == "__main__":
    main()
