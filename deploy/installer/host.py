"""The node as the installer sees it: a directory that is its root."""

import os
import subprocess
from pathlib import Path

LINKS_MAX = 40
COMMAND_TIMEOUT_S = 120


class Refused(Exception):
    """What the installer does not understand, or will not do: at which stage, which value, and what
    to do about it. The node is as it was before that stage."""

    def __init__(self, stage, value, remedy):
        super().__init__(f"{stage}: {value}: {remedy}")


class Host:
    def __init__(self, root):
        self.root = Path(root).resolve()

    def path(self, place):
        """Where the node's absolute path `place` is. Symbolic links are the node's: an absolute one
        starts at its root, and none leads out of it. What is missing at the end stays as it is."""
        todo = list(reversed(Path(place).parts[1:]))
        found, links = self.root, 0
        while todo:
            part = todo.pop()
            if part == "..":
                found = found.parent if found != self.root else found
                continue
            step = found / part
            if not step.is_symlink():
                found = step
                continue
            links += 1
            if links > LINKS_MAX:
                raise Refused("path", place, "its symbolic links form a loop: mend them")
            target = Path(os.readlink(step))
            if target.is_absolute():
                found, target = self.root, target.relative_to("/")
            todo.extend(reversed(target.parts))
        return found

    def read(self, place):
        """The text with its line ends as they are; None where there is no such file."""
        try:
            return self.path(place).read_bytes().decode()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise Refused(f"read {place}", error, "the file has to be UTF-8") from error

    def write(self, place, text):
        """In one step, and with the owner and mode of the file that is replaced."""
        path = self.path(place)
        partial = _partial(path)
        partial.unlink(missing_ok=True)
        before = path.stat() if path.exists() else None
        mode = before.st_mode & 0o7777 if before else 0o644
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            if before:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)

    def remove(self, place):
        self.path(place).unlink(missing_ok=True)
        self.discard(place)

    def discard(self, place):
        """What a killed write() has left."""
        _partial(self.path(place)).unlink(missing_ok=True)

    def run(self, command, stage, remedy):
        """Runs the node's program in its root; returns its stdout."""
        words = [str(word) for word in command]
        within = [] if self.root == Path("/") else ["chroot", str(self.root)]
        # systemctl takes a chroot for an image that is being made, and would do nothing.
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "SYSTEMD_IGNORE_CHROOT": "1"}
        try:
            result = subprocess.run([*within, *words], env=environment, stdin=subprocess.DEVNULL,
                                    capture_output=True, text=True, check=False,
                                    timeout=COMMAND_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused(stage, error, remedy) from error
        if result.returncode != 0:
            said = (result.stdout + result.stderr).strip()
            raise Refused(stage, f"{' '.join(words)} ended with status {result.returncode}: {said}",
                          remedy)
        return result.stdout

    def processes_of(self, program):
        """Pids of the processes that run this file, also when it has been replaced since."""
        found = []
        for entry in self.path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                executable = os.readlink(entry / "exe")
            except OSError:
                continue  # A process that has just ended, or a thread of the kernel.
            if executable.removesuffix(" (deleted)").endswith(str(program)):
                found.append(int(entry.name))
        return sorted(found)


def _partial(path):
    return path.with_name(f".{path.name}.kata-cpp")
