"""The installer's image has its modules in one directory; in the tree one of them is the tools'."""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tools/lib"), str(TOP / "deploy/installer")]
