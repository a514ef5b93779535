"""configuration.toml as tests and benchmarks write it."""

import json
import os
import tempfile


def write(path, tables):
    """table -> key -> string, number, bool or list of them. A shim that reads meanwhile sees the old file or the
    new one, never a part: without its kernel's line the configuration means another kernel."""
    lines = []
    for table, settings in tables.items():
        lines.append(f"[{table}]")
        # JSON's strings, integers, booleans and lists are TOML's.
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    # Of a name of its own: several threads may write at once.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}", delete=False) as written:
        written.write("\n".join(lines) + "\n")
    os.replace(written.name, path)
