"""ctr under a terminal of its own, as a user's shell would start it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

DEADLINE_S = 150
SHOWN = 4000
# What ctr logs when the process has ended before ctr could tell it the first size.
TOO_LATE = re.compile(r"[^\n]*ERRO[^\n]*resize pty[^\n]*\n")


class Terminal:
    """A process whose controlling terminal is a pty; what it writes is read here.

    A line ends by \\r\\r\\n: the container's terminal adds one \\r, and so does ours, which ctr leaves
    in a mode that is raw but for that. Text has \\n instead."""

    def __init__(self, container, process_id, argv, size):
        self.container = container
        self.process_id = process_id
        self._argv = argv
        self._output = b""
        self.raw = b""  # everything that was read
        self._ours, theirs = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs,
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.abandon()

    def resize(self, rows, columns):
        """The kernel tells ctr by SIGWINCH."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self._ours, text.encode())

    def line(self, text):
        """Types a line and its Return."""
        self.type(f"{text}\r")

    def expect(self, pattern, deadline_s=DEADLINE_S):
        """Reads until `pattern` (a regular expression over text with \\n) is there: its match. What
        follows is kept for the next call."""
        end = time.monotonic() + deadline_s
        while True:
            text = self._text()
            if found := re.search(pattern, text, re.MULTILINE):
                self._output = text[found.end():].encode()
                return found
            chunk = self._read(end - time.monotonic())
            assert chunk, f"nothing like {pattern!r} within {deadline_s} s; {self._so_far()}"
            self._output += chunk
            self.raw += chunk

    def finish(self, deadline_s=DEADLINE_S):
        """Reads to the end of the process: its exit status and the text that was not expected."""
        end = time.monotonic() + deadline_s
        while chunk := self._read(end - time.monotonic()):
            self._output += chunk
            self.raw += chunk
        try:
            status = self.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {deadline_s} s; {self._so_far()}") from None
        return status, self._text()

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._ours is not None:
            os.close(self._ours)
            self._ours = None

    def _read(self, seconds):
        """Empty at the end and when nothing comes."""
        if seconds <= 0 or not select.select([self._ours], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self._ours, 65536)
        except OSError:
            return b""  # EIO: nobody has the other end any more.

    def _text(self):
        return TOO_LATE.sub("", re.sub(r"\r+\n", "\n", self._output.decode(errors="replace")))

    def _so_far(self):
        return f"$ {' '.join(self._argv)}\nread since the last match: {self._text()[-SHOWN:]!r}"
