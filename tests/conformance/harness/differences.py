"""differences.yaml: the rows in which ours differs from runc, each with the reason, as a list of

- rows: ids ("topic: name")
  kind: justified (it stays so) or known gap (it is a defect of ours)
  reason: a sentence
  ours: parts of our answer; needed for what is justified

and docs/differences.md, which is made from it: `python3 -m harness.differences`, in
tests/conformance.
"""

from dataclasses import dataclass

import yaml

from .rows import HERE

DOCUMENT = HERE.parents[1] / "docs/differences.md"
KINDS = {
    "justified": "Differences that stay",
    "known gap": "Known gaps",
}
HEAD = """\
# Differences from runc

Rows of the [conformance suite](testing.md#conformance) in which a container under this runtime sees \
something else than under runc 1.1, and why. Made from `tests/conformance/differences.yaml`; a row that \
is listed and does not differ fails, and so does one that differs and is not listed.
"""


@dataclass(frozen=True)
class Difference:
    rows: tuple
    kind: str
    reason: str
    ours: tuple


def load():
    entries = [Difference(tuple(entry["rows"]), entry["kind"], entry["reason"].strip(),
                          tuple(entry.get("ours", ())))
               for entry in yaml.safe_load((HERE / "differences.yaml").read_text())]
    for entry in entries:
        assert entry.kind in KINDS and entry.reason and entry.rows, entry
        assert entry.ours or entry.kind != "justified", f"what is our answer? {entry}"
    return entries


def document(differences):
    lines = [HEAD]
    for kind, title in KINDS.items():
        lines.append(f"## {title}\n\n| rows | why |\n|---|---|")
        lines += [f"| {'<br>'.join(entry.rows)} | {' '.join(entry.reason.split())} |"
                  for entry in differences if entry.kind == kind]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    DOCUMENT.write_text(document(load()))
