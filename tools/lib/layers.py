"""tools/check-layers: the direction of #include lines (docs/design.md, "Layers").

Quoted includes are paths from the top of the tree, or generated protobuf headers.
"""

import re
import sys
from pathlib import Path, PurePosixPath

TOP = Path(__file__).resolve().parents[2]
SOURCE_FOLDERS = ("common", "proto", "runtime", "shim", "agent")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# Who may include whom. A folder is named by its longest listed prefix; it always sees itself and
# common. common and proto see nothing else of ours.
MAY_INCLUDE = {
    "common": (),
    "proto": (),
    "runtime": (),
    "runtime/sandbox": ("runtime",),
    "runtime/cli": ("runtime",),
    "shim": ("shim", "runtime"),
    "shim/ttrpc": (),
    "agent": ("agent",),
}
# Plain values that the whole runtime speaks in.
SHARED_HEADERS = {"runtime/hypervisor/device.h": "runtime"}
# Fakes are the tests' own.
TEST_SUFFIX, TEST_FOLDERS = "_test.cc", ("tests",)

# Headers of libraries that stay at the edges.
CONFINED = (
    (re.compile(r"\.pb\.h$"), "generated protobuf types",
     ("shim/service", "shim/events", "shim/ttrpc", "runtime/agent_client", "agent/rpc")),
    (re.compile(r"^google/protobuf/"), "protobuf",
     ("shim/service", "shim/events", "shim/ttrpc", "runtime/agent_client", "agent/rpc")),
    (re.compile(r"^grpc(pp)?/"), "gRPC", ("runtime/agent_client", "agent/rpc")),
    (re.compile(r"^libvirt/"), "libvirt", ("runtime/hypervisor",)),
)


def main():
    violations = [violation for folder in SOURCE_FOLDERS
                  for path in sorted((TOP / folder).rglob("*"))
                  if path.suffix in (".h", ".cc")
                  for violation in check_file(str(path.relative_to(TOP)), path.read_text())]
    print(*violations, sep="\n", end="\n" if violations else "")
    if violations:
        sys.exit(f"check-layers: {len(violations)} includes cross a layer")
    print("check-layers: every include goes down")


def check_file(path, text):
    """Messages "file:line: why" for the includes of one file."""
    for number, line in enumerate(text.splitlines(), start=1):
        match = INCLUDE.match(line)
        if match:
            why = refusal(path, match.group(2), ours=match.group(1) == '"')
            if why:
                yield f"{path}:{number}: {why}"


def refusal(path, included, ours):
    """Why the file `path` must not include `included`; None if it may."""
    for pattern, what, folders in CONFINED:
        if pattern.search(included):
            return None if _below(path, folders) else f"{what} ({included}) only in {', '.join(folders)}"
    if not ours:
        return None
    sees = _visible(path)
    if _below(included, sees) or _below(path, (SHARED_HEADERS.get(included, "-"),)):
        return None
    return f"{_folder(path)} must not include {included} (it sees {', '.join(sees)})"


def _visible(path):
    rule = max((prefix for prefix in MAY_INCLUDE if _below(path, (prefix,))), key=len)
    fakes = TEST_FOLDERS if path.endswith(TEST_SUFFIX) else ()
    return tuple(dict.fromkeys(("common", _folder(path), *MAY_INCLUDE[rule], *fakes)))


def _folder(path):
    """runtime/vsock/dialer.h is of runtime/vsock; common is one folder."""
    parts = PurePosixPath(path).parts[:-1]
    return parts[0] if parts[0] in ("common", "proto") else "/".join(parts[:2])


def _below(path, folders):
    return any(path.startswith(f"{folder}/") for folder in folders)


if __name__ == "__main__":
    main()
