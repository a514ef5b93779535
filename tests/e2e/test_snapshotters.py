"""The root file system that each snapshotter hands over."""

import pytest

# Every file: type and mode, owner, links, size, name.
LIST = "find / -xdev -not -path '/dev*' -not -path '/proc*' -not -path '/sys*' -not -path '/run*'" \
       " -exec stat -c '%f %u:%g %h %s %n' {} + | grep -v ' /$' | sort"
WRITE = """
set -e
echo first > /new; echo second >> /new; mv /new /moved; cat /moved
mkdir /d; chmod 1750 /d; chown 1234:5678 /d; stat -c '%a %u:%g' /d
ln -s /moved /d/link; cat /d/link
ln /moved /hard; stat -c %h /hard; rm -r /d /etc/passwd; ls /etc
"""
EXPECTED = "first\nsecond\n1750 1234:5678\nfirst\nsecond\n2\ngroup\n"


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_read_and_write(client, snapshotter):
    assert snapshotter in client.containerd.snapshotters()
    outcome = client.sh(WRITE, flags=["--snapshotter", snapshotter])
    assert (outcome.status, outcome.text) == (0, EXPECTED), outcome


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_files_are_those_of_runc(runc, kata, snapshotter):
    listings = [client.sh(LIST, flags=["--snapshotter", snapshotter]) for client in (runc, kata)]
    assert listings[0].status == 0 and "/bin/busybox" in listings[0].text, listings[0]
    assert listings[1].text.splitlines() == listings[0].text.splitlines()


def test_read_only(client):
    outcome = client.sh("echo changed > /new", flags=["--read-only"])
    assert outcome.status == 1 and "Read-only file system" in outcome.error, outcome
