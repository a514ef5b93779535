"""Fixtures of the end-to-end suite: one private containerd for the session, a client for each
runtime, and the check that every test leaves the host as it was. See docs/testing.md."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools/lib"))

# pylint: disable=wrong-import-position
import package
from oci_image import build_busybox_image
from private_containerd import PrivateContainerd
from support.client import NAMESPACE, Client
from support.events import EventStream
from support.images import unpack, with_config
from support.kata import KataBuild, KataConfig
from support.leaks import LeakCheck, remove_namespace_cgroups
from support.tasks import Tasks

TEST_DEADLINE_S = 300
CLEAN_DEADLINE_S = 30
LOG_LINES_SHOWN = 200
RUNC_TYPE = "io.containerd.runc.v2"
RUNC_RERUNS = 2


def pytest_addoption(parser):
    parser.addoption("--build", type=Path, default=REPOSITORY / "build",
                     help="Meson build directory with shim and guest image (default: build)")
    parser.addoption("--guest", type=Path,
                     help="directory of another guest image (default: the build's guest/)")
    parser.addoption("--runtime", choices=("both", "runc", "kata"), default="both",
                     help="runc: what needs nothing built; kata: what needs our runtime")
    parser.addoption("--kata-type", default="io.containerd.kata.v2",
                     help="containerd runtime in the role of ours, to test the tests")
    parser.addoption("--slow", action="store_true", help="only the tests that take minutes")
    parser.addoption("--template", choices=("off", "auto"), default="off",
                     help="auto: pods start from a template wherever a test says nothing else")


def pytest_collection_modifyitems(config, items):
    """--runtime: runc selects what needs nothing of ours, kata what is not about runc alone. What is
    about runc alone may be repeated: on a busy machine its shim loses the output of what ends at
    once. Ours has one try. Tests that take minutes run with --slow, and without the others."""
    for item in items:
        if _runtimes_of(item) == {"runc"}:
            item.add_marker(pytest.mark.flaky(reruns=RUNC_RERUNS))
    wanted = config.getoption("--runtime")
    slow = config.getoption("--slow")
    chosen = [item for item in items
              if (wanted == "both" or not _runtimes_of(item)
                  or ("kata" in _runtimes_of(item)) == (wanted == "kata"))
              and bool(item.get_closest_marker("slow")) == slow]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _runtimes_of(item):
    named = {"runc", "kata", "kata_config"} & set(item.fixturenames)
    runtimes = {"kata" if name == "kata_config" else name for name in named}
    callspec = getattr(item, "callspec", None)
    return runtimes | {callspec.params[name] for name in ("client", "run_pod")
                       if callspec and name in callspec.params}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Nothing waits for ever: SIGALRM ends a test that is past its deadline."""
    marker = item.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else TEST_DEADLINE_S

    def expired(*_):
        raise TimeoutError(f"the test has not ended after {seconds} s")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what containerd, and through it the shim, logged meanwhile."""
    report = (yield).get_result()
    item.passed = report.when == "call" and report.passed or getattr(item, "passed", False)
    log = getattr(item, "log_window", None)
    if report.failed and log:
        report.sections.append(("containerd log during the test", log.read()))


class LogWindow:
    """The lines that containerd's log has gained since now."""

    def __init__(self, path):
        self._path = path
        self._begin = path.stat().st_size

    def read(self):
        if not self._path.exists():
            return ""  # a session fixture's own end, after containerd's
        with open(self._path, "rb") as log:
            log.seek(self._begin)
            lines = log.read().decode(errors="replace").splitlines()
        # Requests of the leak check and the garbage collector's reports say nothing of the test.
        lines = [line for line in lines if "garbage collected" not in line]
        return "\n".join(lines[-LOG_LINES_SHOWN:])


@pytest.fixture(scope="session")
def session_directory():
    """Short, because Unix sockets live below it."""
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests start containers: run them as root", 2)
    directory = Path(tempfile.mkdtemp(prefix="kata-e2e-", dir="/tmp"))
    yield directory
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"{directory}/" not in mounts, f"not removed, because mounts are left below {directory}"
    shutil.rmtree(directory)
    remove_namespace_cgroups()


@pytest.fixture(scope="session")
def guest_programs(pytestconfig):
    """Directory of those that tests bring into containers."""
    return pytestconfig.getoption("--build").resolve() / "tests/e2e/guest"


@pytest.fixture(scope="session")
def image_archive(session_directory):
    return build_busybox_image(session_directory / "busybox.tar")


@pytest.fixture(scope="session")
def image_for_user(containerd, image_archive, session_directory):
    """image_for_user("nobody"): the name of the image with this user, imported."""
    def make(user):
        name = f"localhost/busybox-user:{re.sub('[^a-z0-9]', '-', user)}"
        archive = with_config(image_archive, session_directory / "variant.tar", name, User=user)
        containerd.import_image(archive, namespace=NAMESPACE)
        return name
    return functools.cache(make)


@pytest.fixture(scope="session")
def session_config(session_directory, pytestconfig):
    build = KataBuild.chosen(pytestconfig)
    return KataConfig(session_directory / "configuration.toml", session_directory / "k", build,
                      template=pytestconfig.getoption("--template"))


@pytest.fixture(scope="session")
def make_containerd(session_directory, session_config, image_archive, pytestconfig):
    """`with make_containerd("name") as containerd:` one that knows our shim and has the image.
    Options are PrivateContainerd's."""
    build = KataBuild.chosen(pytestconfig)

    @contextlib.contextmanager
    def make(name, **options):
        with PrivateContainerd(session_directory / name, path_prefix=build.shim_directory,
                               conf_file=session_config.path,
                               env={"KATA_MODULE_DIR": str(build.module_directory)},
                               **options) as running:
            running.import_image(image_archive, namespace=NAMESPACE)
            yield running
    return make


@pytest.fixture(scope="session")
def containerd(make_containerd):
    with make_containerd("c") as running:
        yield running


@pytest.fixture(scope="session")
def installer_context(session_directory, pytestconfig):
    """What the image of the nodes' installer is made of; the package's files are in it."""
    return package.make_installer_context(session_directory / "package",
                                          pytestconfig.getoption("--build").resolve())


@pytest.fixture(scope="session")
def events(containerd):
    stream = EventStream(containerd, NAMESPACE)
    yield stream
    stream.close()


@pytest.fixture(scope="session")
def tasks(containerd, session_directory):
    service = Tasks(containerd.address, NAMESPACE, session_directory / "proto")
    yield service
    service.close()


@pytest.fixture(scope="session")
def leaks(session_directory, containerd, events, session_config):
    return LeakCheck(session_directory, containerd, events, session_config.state_root)


@pytest.fixture(autouse=True)
def leak_check(request, containerd, leaks):
    """Every test leaves nothing on the host. One that failed or was interrupted is cleaned up
    after instead."""
    request.node.log_window = LogWindow(containerd.log_path)
    leaks.begin()
    yield
    passed = getattr(request.node, "passed", False)
    left = leaks.wait_clean(CLEAN_DEADLINE_S if passed else 1)
    if left:
        leaks.clean_by_force()
    if left and passed:
        pytest.fail("left on the host:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def runc(leak_check, containerd):
    client = Client(containerd, "runc", RUNC_TYPE)
    yield client
    client.close()


@pytest.fixture
def ctr_spec(runc, image_archive, tmp_path):
    """ctr_spec(command): ctr's own specification, for what ctr has no flags for. Its root is a plain
    directory: no snapshotter hands over any mount. ctr_spec.write(spec): a file with it."""
    class CtrSpec:
        def __call__(self, *command):
            container = runc.new_id()
            runc.ctr(*runc.create_args(container, command))
            spec = json.loads(runc.ctr("containers", "info", "--spec", container).text)
            runc.remove(container)
            spec["root"] = {"path": str(unpack(image_archive, tmp_path / "root"))}
            return spec

        def write(self, spec):
            path = tmp_path / "spec.json"
            path.write_text(json.dumps(spec))
            return path
    return CtrSpec()


@pytest.fixture
def kata(leak_check, containerd, pytestconfig):
    kata_type = pytestconfig.getoption("--kata-type")
    build = KataBuild.chosen(pytestconfig)
    if kata_type != RUNC_TYPE and build.missing():
        pytest.fail(f"not built: {', '.join(build.missing())}; build first, name the directory by "
                    "--build=, or run only runc's rows by --runtime runc", pytrace=False)
    client = Client(containerd, "kata", kata_type)
    yield client
    client.close()


@pytest.fixture(params=["runc", "kata"])
def client(request):
    """The rows that hold for both runtimes: what runc does is what is expected of ours."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def kata_config(leak_check, session_config):
    """Settings of our runtime for one test: kata_config.change(hypervisor={…})."""
    yield session_config
    session_config.reset()
