"""The tuned kernel's options: fragments of Kconfig's .config format, and the proof that none is lost.

A line is `CONFIG_NAME=value`, `# CONFIG_NAME is not set`, or a comment.
"""

import re
from dataclasses import dataclass

from . import GuestImageError

OFF = "n"
LINE = re.compile(r"# (?P<off>CONFIG_\w+) is not set|(?P<name>CONFIG_\w+)=(?P<value>.+)")


@dataclass(frozen=True)
class Option:
    name: str
    value: str      # y, a number, a quoted string, or OFF
    fragment: str   # file name


def read(directory):
    """The options of all fragments, in the order of the files' names."""
    options = {}
    for path in sorted(directory.glob("*.config")):
        for name, value in parse(path.read_text()).items():
            if name in options:
                raise GuestImageError(f"{name} is in {options[name].fragment} and in {path.name}: it "
                                      "belongs in one of them")
            options[name] = Option(name, value, path.name)
    if not options:
        raise GuestImageError(f"{directory} holds no *.config")
    return list(options.values())


def parse(text):
    """Name -> value of a .config or a fragment."""
    values = {}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if match:
            values[match["name"] or match["off"]] = match["value"] or OFF
        elif line and not re.match(r"#( |$)", line):
            raise GuestImageError(f"no line of a kernel configuration: {line}")
    return values


def render(options):
    """All of them as one file (for KCONFIG_ALLCONFIG)."""
    return "".join(f"# {option.name} is not set\n" if option.value == OFF else
                   f"{option.name}={option.value}\n" for option in options)


def verify(options, config):
    """Kconfig drops an option silently when its dependencies are not met, its name is gone, or
    another one selects it; here that is an error."""
    values = parse(config)
    lost = [f"{option.name} ({option.fragment}) should be {option.value} and is "
            f"{values.get(option.name, OFF)}"
            for option in options if values.get(option.name, OFF) != option.value]
    if lost:
        raise GuestImageError("the kernel's configuration lost options: " + "; ".join(lost))
