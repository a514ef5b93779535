"""Rows: what is asked of both runtimes. A file of rows/ is a topic, a list of

- name: unique in its topic
  patch: JSON Patch (RFC 6902) to base.json, with lists of operations among the operations (for
         YAML's anchors); a value may be made by `times` (see _made)
  probe: a shell script for the container; none: process.args of base.json and the patch
  exec: JSON Patch to the process of an exec: the probe is run by it, while the init sleeps; nothing
    else of the exec's process is the row's, so that it shows what it takes over from its container
  update: linux.resources that the container gets between its start and the exec
  files: what is in the rootfs beside busybox: path -> text, or {link: target}, {directory: mode}
  shows: parts of what runc prints; keeps a row from saying nothing
  refused: parts of the message with which both refuse to start the container
"""

from dataclasses import dataclass
from pathlib import Path

import jsonpatch
import yaml

HERE = Path(__file__).resolve().parents[1]
FIELDS = {"name", "patch", "probe", "exec", "update", "files", "shows", "refused"}
INIT_OF_EXEC = ["sleep", "1000"]


@dataclass(frozen=True)
class Row:
    topic: str
    name: str
    config: dict
    exec: dict | None
    update: dict | None
    files: dict
    shows: tuple
    refused: tuple

    @property
    def id(self):
        return f"{self.topic}: {self.name}"

    @property
    def terminal(self):
        return self.config.get("process", {}).get("terminal") is True


def load():
    base = yaml.safe_load((HERE / "base.json").read_text())
    rows = [_row(path.stem, base, fields) for path in sorted((HERE / "rows").glob("*.yaml"))
            for fields in yaml.safe_load(path.read_text())]
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids)), [name for name in ids if ids.count(name) > 1]
    return rows


def _row(topic, base, fields):
    unknown = set(fields) - FIELDS
    assert not unknown, f"{topic}: {fields['name']}: unknown {unknown}"
    operations = [_made(operation) for operation in _flat(fields.get("patch", ()))]
    probe = ["sh", "-c", fields["probe"]] if "probe" in fields else base["process"]["args"]
    process = None
    if "exec" in fields or "update" in fields:
        process = {key: base["process"][key] for key in ("user", "env", "cwd")} | {"args": probe}
        process = jsonpatch.apply_patch(process, [_made(item) for item in fields.get("exec", ())])
        probe = INIT_OF_EXEC
    operations.insert(0, {"op": "replace", "path": "/process/args", "value": probe})
    return Row(topic, fields["name"], jsonpatch.apply_patch(base, operations), process,
               fields.get("update"), _contents(fields.get("files", {})),
               tuple(fields.get("shows", ())),
               tuple(fields.get("refused", ())))


def _flat(operations):
    for operation in operations:
        if isinstance(operation, list):
            yield from _flat(operation)
        else:
            yield operation


def _contents(files):
    return {path: _made(content) for path, content in files.items()}


def _made(value):
    """{times: 3, text: ab} is "ababab"; {times: 3, item: "V{n}=x"} is ["V0=x", "V1=x", "V2=x"];
    {times: 2, item: {key: "{n}"}} is [{key: 0}, {key: 1}]."""
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "times" in value:
        return (value["text"] * value["times"] if "text" in value else
                [_numbered(value["item"], number) for number in range(value["times"])])
    return {key: _made(item) for key, item in value.items()}


def _numbered(item, number):
    if isinstance(item, dict):
        return {key: _numbered(value, number) for key, value in item.items()}
    if item == "{n}":
        return number
    return item.format(n=number) if isinstance(item, str) else item
