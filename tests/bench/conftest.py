import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path += [str(TOP / "tests/bench"), str(TOP / "tools/lib"), str(TOP / "guest-image"),
             str(TOP / "tests/e2e")]
