import shutil
import subprocess

import pytest

from . import cpio


def archive(files):
    result = cpio.Archive()
    for path, content in files:
        result.add_file(path, content)
    return result.to_bytes()


def test_the_order_of_additions_does_not_matter():
    files = [("/etc/kata/modules", b"a\n"), ("/init", b"binary"), ("/etc/a", b"")]
    assert archive(files) == archive(reversed(files))


def test_first_header_has_root_owner_no_time_and_aligned_name():
    data = archive([("/init", b"abcde")])
    name = b"init\0"
    fields = [int(data[6 + 8 * i:14 + 8 * i], 16) for i in range(13)]
    assert data[:6] == b"070701"
    assert fields == [1, 0o100644, 0, 0, 1, 0, 5, 0, 0, 0, 0, len(name), 0]
    assert data[110:115] == name
    assert data[116:121] == b"abcde"


def test_directories_come_before_their_content():
    data = archive([("/lib/modules/a.ko", b"x"), ("/lib-b", b"y")])
    positions = [data.index(name + b"\0") for name in (b"lib", b"lib/modules", b"lib/modules/a.ko")]
    assert positions == sorted(positions)


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_cpio_reads_it(tmp_path):
    result = cpio.Archive()
    result.add_directory("/dev")
    result.add_file("/etc/kata/modules", b"m" * 1001)
    result.add_file("/init", b"i" * 3, permissions=0o755)
    subprocess.run(["cpio", "--extract", "--quiet"], cwd=tmp_path, input=result.to_bytes(),
                   check=True)
    assert (tmp_path / "dev").is_dir()
    assert (tmp_path / "etc/kata/modules").read_bytes() == b"m" * 1001
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
