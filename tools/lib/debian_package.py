"""A .deb of a directory tree: its control files, the dependencies of its programs, and the archive,
which is the same for the same tree."""

import gzip
import hashlib
import os
import string
import subprocess
import tempfile
from pathlib import Path

# What every dpkg and every archive takes. The default level takes three times as long for 3 % less.
COMPRESSION = ("-Zxz", "-z1")


def add_control(root, template, values):
    """`template`: of DEBIAN/control, with ${installed_size} beside what `values` have."""
    control = root / "DEBIAN"
    control.mkdir()
    files = sorted(path for path in root.rglob("*") if path.is_file())
    kib = sum(-(-path.stat().st_size // 1024) for path in files)
    (control / "control").write_text(
        string.Template(template).substitute(values, installed_size=kib))
    (control / "md5sums").write_text("".join(
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"
        for path in files))


def pack(run, root, package, epoch):
    """`epoch`: the time of all that is in it."""
    for path in (root, *root.rglob("*")):
        if not path.is_file():
            path.chmod(0o755)
        elif path.stat().st_mode & 0o111:
            path.chmod(0o755)
        else:
            path.chmod(0o644)
        os.utime(path, (epoch, epoch))
    run(["dpkg-deb", *COMPRESSION, "--root-owner-group", "--build", root, package],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})


def library_dependencies(depends, suggests):
    """What the shared libraries of these files are: (Depends, Suggests), as in the control file."""
    with tempfile.TemporaryDirectory() as directory:
        # It wants to be in a source package.
        (Path(directory) / "debian").mkdir()
        (Path(directory) / "debian/control").write_text(
            "Source: package\nMaintainer: nobody\n\nPackage: package\nArchitecture: any\n")
        result = subprocess.run(
            ["dpkg-shlibdeps", "-O", *(f"-e{path}" for path in depends),
             *(argument for path in suggests for argument in ("-dSuggests", f"-e{path}"))],
            cwd=directory, capture_output=True, text=True, check=True)
    found = dict(line.removeprefix("shlibs:").split("=", 1) for line in result.stdout.splitlines())
    return found["Depends"], found["Suggests"]


def sources_of(names):
    """The source packages of these installed packages, as Built-Using has them."""
    result = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${source:Package} (= ${source:Version})\n", *names],
        capture_output=True, text=True, check=True)
    return ", ".join(sorted(set(result.stdout.splitlines())))


def copyright_of(names):
    """The copyright files of these installed packages, one after the other; once what is the same."""
    texts = {}
    for name in sorted(names):
        text = (Path("/usr/share/doc") / name / "copyright").read_text(errors="replace")
        texts.setdefault(text, []).append(name)
    return "\n".join(f"==== {', '.join(packages)} ====\n\n{text}" for text, packages in texts.items())


def compress(path, text):
    # Without the time of the compression, which would differ from build to build.
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))

