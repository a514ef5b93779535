"""Python code of a .proto file beside the tests."""

import importlib
import subprocess
import sys


def compile_proto(proto, directory):
    """The module of `proto`, made by protoc in `directory`."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["protoc", f"--proto_path={proto.parent}", f"--python_out={directory}",
                    proto.name], check=True)
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module(f"{proto.stem}_pb2")
    finally:
        sys.path.remove(str(directory))
