"""Block devices of the host, made of files."""

import contextlib
import subprocess


@contextlib.contextmanager
def loop_device(image, mib=64, sector=512):
    """Answers its path. Whoever still has it open at the end keeps it: that is an error."""
    with open(image, "wb") as file:
        file.truncate(mib << 20)
    device = subprocess.run(["losetup", "--find", "--show", "--sector-size", str(sector), image],
                            check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        # Detaching waits for the last one who has it open, in silence.
        subprocess.run(["losetup", "--detach", device], check=True)
    left = subprocess.run(["losetup", "--associated", image], check=True, capture_output=True,
                          text=True).stdout
    assert left == "", f"still open: {left}"
