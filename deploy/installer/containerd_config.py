"""containerd's configuration gets a handler for our pods, and loses it again.

containerd 2.x merges what config.toml imports: there the handler is a file of its own, if config.toml
imports a directory. 1.6 and 1.7 replace all settings of a plugin by an import's, runc's handler among
them: there, and without such a directory, it is a block at the end of config.toml. The first handler
that config.toml itself has replaces the defaults of 1.6 and 1.7, so that the block repeats them.

Nothing is taken for granted: what containerd itself says of its configuration before and after
differs by the handler and nothing else, or the files are put back.
"""

import copy
import fnmatch
import re
import tomllib
from pathlib import Path

import handler_block
from host import Refused

DROP_IN = "kata-cpp.toml"
# Not .toml: an import of the directory must not take it.
SAVED = "kata-cpp.edited"
OLDEST, MERGES = (1, 6), (2, 0)
CRI_NAMES = {"cri", *handler_block.PLUGINS.values()}


class ContainerdConfig:
    def __init__(self, host, place, handler):
        self._host = host
        self._place = Path(place)
        self._handler = handler

    def check(self):
        """Before anything is done: whether there is a containerd with a configuration for it."""
        self.release()
        self._schema()

    def is_present(self):
        return self._find() is not None

    def is_current(self):
        """Whether the handler is there as this installer writes it, or as somebody has edited it."""
        found = self._find()
        if not found:
            return False
        place, block = found
        if block.edited:
            print(f"kept: {place} has been edited")
        elif self._body(self._schema()) not in block.body:
            return False
        self._require_ours(self._effective())
        return True

    def remove(self):
        """An edited block is kept in a file of its own."""
        self._host.discard(self._place)
        while found := self._find():
            place, block = found
            if block.edited:
                saved = place.with_name(SAVED)
                self._host.write(saved, block.body)
                print(f"kept: what was edited of {place} is in {saved}")
            self._put(place, handler_block.without(self._host.read(place)))
            print(f"containerd's handler {self._handler} is no longer in {place}")

    def add(self):
        """Where it is not there yet; containerd learns of it when it is restarted."""
        version = self._schema()
        body = self._body(version)
        text = self._host.read(self._place)
        before = self._effective()
        if self._handler in runtimes(before):
            raise Refused("handler", f"containerd has a handler {self._handler} already "
                          f"({runtimes(before)[self._handler].get('runtime_type')})",
                          "remove it from containerd's configuration, or choose another name by "
                          "--handler and in the RuntimeClass")
        if self.release() < MERGES and not runtimes(self._settings()):
            body += "".join(handler_block.table(version, name, handler)
                            for name, handler in runtimes(before).items())
        drop_in = self._drop_in()
        if drop_in:
            place, new = drop_in, handler_block.as_file(version, body)
            if self._host.read(place) is not None:
                raise Refused("containerd's configuration", f"{place} is there and not the installer's",
                              "move it away")
        elif text is None:
            place, new = self._place, handler_block.as_file(version, body)
        else:
            place, new = self._place, handler_block.appended(text, body)
            parse(new, f"{place} with a table {self._handler} at its end",
                   "write the plugin's settings as [tables], not as inline tables")
        old = self._host.read(place)
        self._put(place, new)
        try:
            after = self._effective()
            self._require_ours(after)
            if _others(after, self._handler) != _others(before, self._handler):
                raise Refused("containerd's configuration", f"with a handler in {place} containerd "
                              "would change other settings, too", "give config.toml's settings of the "
                              "CRI plugin a place in config.toml itself, not in a file that it imports")
        except Refused:
            self._put(place, old)
            raise
        print(f"containerd's handler {self._handler} is in {place}")

    def _body(self, version):
        return handler_block.handler_table(version, self._handler)

    def _put(self, place, text):
        if text is None:
            self._host.remove(place)
        else:
            self._host.write(place, text)

    def _find(self):
        """Place and block of what the installer has written."""
        for place in (self._place, *(directory / DROP_IN for directory in self._imported())):
            block = handler_block.find(self._host.read(place))
            if block:
                return place, block
        return None

    def _settings(self):
        return parse(self._host.read(self._place) or "", self._place, "correct it")

    def _schema(self):
        """The configuration's version, of a configuration that can have the handler."""
        settings = self._settings()
        disabled = CRI_NAMES & set(settings.get("disabled_plugins", ()))
        if disabled:
            raise Refused("containerd's configuration", f"disabled_plugins has {sorted(disabled)}",
                          "kubelet needs the CRI plugin: remove it from that list")
        if self._host.read(self._place) is None:
            return 3 if self.release() >= MERGES else 2
        version = settings.get("version", 1)
        if version not in handler_block.PLUGINS:
            raise Refused("containerd's configuration", f"{self._place} has version {version}",
                          "the installer knows 2 and 3: `containerd config migrate` prints the file in "
                          "containerd's own version")
        return version

    def release(self):
        said = self._host.run(["containerd", "--version"], "containerd", "install containerd 1.6 or "
                              "newer; one that is part of another program (k3s, RKE2) is configured "
                              "by hand: docs/kubernetes.md")
        match = re.search(r" v?(\d+)\.(\d+)\.", said)
        if not match or (release := (int(match[1]), int(match[2]))) < OLDEST:
            raise Refused("containerd", said.strip(), "install containerd 1.6 or newer")
        return release

    def _imported(self):
        """Directories of which config.toml imports a file of our name."""
        found = []
        for pattern in self._settings().get("imports", ()):
            path = self._place.parent / pattern
            if fnmatch.fnmatchcase(DROP_IN, path.name) and not re.search(r"[*?\[]", str(path.parent)):
                found.append(path.parent)
        return found

    def _drop_in(self):
        if self.release() < MERGES:
            return None
        return next((directory / DROP_IN for directory in self._imported()
                     if self._host.path(directory).is_dir()), None)

    def _effective(self):
        """What containerd makes of its configuration."""
        command = (["config", "default"] if self._host.read(self._place) is None
                   else ["--config", self._place, "config", "dump"])
        dumped = self._host.run(["containerd", *command], "containerd's configuration",
                                "correct what containerd reports")
        return parse(dumped, "`containerd config dump`", "this containerd is not supported")

    def _require_ours(self, effective):
        handler = runtimes(effective).get(self._handler, {})
        if handler.get("runtime_type") != handler_block.RUNTIME_TYPE or handler.get("runtime_path"):
            raise Refused("containerd's configuration",
                          f"containerd's handler {self._handler} is {handler or 'not there'}",
                          "a file that config.toml imports overrides it, or it was edited: take "
                          f"{self._handler} out of there")


def parse(text, what, remedy):
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"read {what}", error, remedy) from error


def runtimes(settings):
    found = {}
    for plugin in handler_block.PLUGINS.values():
        found |= settings.get("plugins", {}).get(plugin, {}).get("containerd", {}).get("runtimes", {})
    return found


def _others(settings, handler):
    """Everything else that has a value; `imports` differs by which files there are."""
    rest = {name: value for name, value in settings.items() if name != "imports"}
    rest = copy.deepcopy(rest)
    for plugin in handler_block.PLUGINS.values():
        handlers = rest.get("plugins", {}).get(plugin, {}).get("containerd", {}).get("runtimes", {})
        handlers.pop(handler, None)
    return handler_block.with_value(rest)
