"""The lines that the installer writes into containerd's configuration: between two marks that say
what else was added with them, so that taking them out gives back every byte that was there before."""

import hashlib
import json
import re
from dataclasses import dataclass

# What a config.toml of this version calls the plugin that has the handlers.
PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
RUNTIME_TYPE = "io.containerd.kata.v2"

# Beside the block itself: nothing; the end of the line before it; the whole file.
PLAIN, AFTER_NEWLINE, WHOLE_FILE = "block", "block and the line end before it", "file"
BEGIN = "# >>> kata-cpp {added}, {checksum}: its installer wrote this and removes it"
END = "# <<< kata-cpp"
BLOCK = re.compile(rf"^# >>> kata-cpp (?P<added>{PLAIN}|{AFTER_NEWLINE}|{WHOLE_FILE}), "
                   r"(?P<checksum>[0-9a-f]{16}): [^\n]*\n(?P<body>.*?)^" + END + r"(?:\r?\n|\Z)",
                   re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    body: str
    edited: bool


def handler_table(version, handler):
    return (f'[plugins."{PLUGINS[version]}".containerd.runtimes."{handler}"]\n'
            f'  runtime_type = "{RUNTIME_TYPE}"\n'
            "  # Settings of a pod, which configuration.toml allows or refuses.\n"
            '  pod_annotations = ["io.katacontainers.*"]\n'
            "  # A privileged container gets all devices of its VM, not of the node.\n"
            "  privileged_without_host_devices = true\n")


def table(version, handler, settings):
    """A handler as containerd shows it, and its options."""
    lines = []
    header = f'plugins."{PLUGINS[version]}".containerd.runtimes.{json.dumps(handler)}'
    for name, values in ((header, settings), (f"{header}.options", settings.get("options", {}))):
        # JSON's strings, numbers, booleans and lists of them are TOML's.
        lines += [f"[{name}]", *(f"  {json.dumps(key)} = {json.dumps(value)}"
                                 for key, value in with_value(values).items()
                                 if not isinstance(value, dict))]
    return "\n".join(lines) + "\n"


def with_value(settings):
    """Without what is empty, zero or false, which to containerd is the same as not there."""
    shown = {key: with_value(value) if isinstance(value, dict) else value
             for key, value in settings.items()}
    return {key: value for key, value in shown.items() if value}


def as_file(version, body):
    return _marked(WHOLE_FILE, f"version = {version}\n\n{body}")


def appended(text, body):
    if text and not text.endswith("\n"):
        return f"{text}\n{_marked(AFTER_NEWLINE, body)}"
    return text + _marked(PLAIN, body)


def _marked(added, body):
    return f"{BEGIN.format(added=added, checksum=_checksum(body))}\n{body}{END}\n"


def _checksum(body):
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def find(text):
    """The block in a file's text, or None."""
    match = BLOCK.search(text or "")
    return match and Block(match["body"], _checksum(match["body"]) != match["checksum"])


def without(text):
    """The text as it was before; None: there was no file."""
    match = BLOCK.search(text)
    before, after = text[:match.start()], text[match.end():]
    if match["added"] == AFTER_NEWLINE:
        before = before.removesuffix("\n")
        # Somebody has written below the block since.
        after = f"\n{after}" if after else ""
    elif match["added"] == WHOLE_FILE:
        if not (before + after).strip():
            return None
        # What somebody has added since needs it, too.
        before = "".join(re.findall(r"^version = \d+\n", match["body"], re.MULTILINE)[:1]) + before
    return before + after
