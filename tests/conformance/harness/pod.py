"""Ours: one pod, in which every row is a container."""

import contextlib
import signal

from support.shim import ShimError
from support.tasks import oci

from .answer import Answer, refusal

LOG_LINES_SHOWN = 60


class Pod:
    """A shim's (tests/e2e/support/shim.py); the sandbox runs."""

    def __init__(self, shim, log):
        """log: file of what the shim and the guest's console say."""
        self._shim = shim
        self._log = log

    def run(self, container, bundle, row):
        output, errors = bundle / "stdout", bundle / "stderr"
        streams = {"stdout": f"file://{output}"}
        streams |= {"terminal": True} if row.terminal else {"stderr": f"file://{errors}"}
        try:
            with contextlib.ExitStack() as cleanup:
                status = (self._exec(container, bundle, row, streams, cleanup) if row.exec else
                          self._run_init(container, bundle, streams, cleanup))
        except ShimError as error:
            return refusal(str(error))
        return Answer(status, _text(output), _text(errors))

    def _run_init(self, container, bundle, streams, cleanup):
        self._shim.task("Create", id=container, bundle=str(bundle), **streams)
        cleanup.callback(self._shim.task, "Delete", id=container)
        self._shim.task("Start", id=container)
        return self._shim.task("Wait", id=container).exit_status

    def _exec(self, container, bundle, row, streams, cleanup):
        self._shim.task("Create", id=container, bundle=str(bundle))
        cleanup.callback(self._shim.task, "Delete", id=container)
        self._shim.task("Start", id=container)
        cleanup.callback(self._shim.task, "Wait", id=container)
        cleanup.callback(self._shim.task, "Kill", id=container, signal=signal.SIGKILL)
        if row.update is not None:
            self._shim.task("Update", id=container, resources=oci("LinuxResources", row.update))
        of_exec = {"id": container, "exec_id": "probe"}
        self._shim.task("Exec", **of_exec, spec=oci("Process", row.exec), **streams)
        cleanup.callback(self._shim.task, "Delete", **of_exec)
        self._shim.task("Start", **of_exec)
        return self._shim.task("Wait", **of_exec).exit_status

    def check_alive(self):
        try:
            self._shim.sandbox("PingSandbox")
        except ShimError as error:
            last_words = "\n".join(_text(self._log).splitlines()[-LOG_LINES_SHOWN:])
            raise AssertionError(f"the pod has not survived: {error}\n{last_words}") from error


def _text(path):
    return path.read_bytes().decode(errors="backslashreplace") if path.exists() else ""
