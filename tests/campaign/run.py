"""Faults on purpose, by the thousand: damaged files, random losses, kills, bad disks; a table of what came of it.

make campaign                                     # about half an hour
PYTHONPATH=tests:tests/campaign:tests/inference python tests/campaign/run.py --files 200 --losses 200 --kills 3
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from datetime import date
from pathlib import Path

from disks import try_disks
from faults import try_full_disks, try_kills, try_prediction_kills
from inputs import write_inputs
from losses import try_losses
from readers import READERS, try_kind

COLUMNS = ("tried", "read", "refused", "fault")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="damaged files of each kind")
    parser.add_argument("--losses", type=int, default=2000, help="random losses")
    parser.add_argument("--kills", type=int, default=20, help="kills of a training and of a prediction")
    parser.add_argument("--no-disks", action="store_true", help="without slow, faulty and full disks")
    parser.add_argument("--kinds", nargs="*", choices=list(READERS), default=list(READERS))
    parser.add_argument("--json", type=Path, default=Path("build/campaign.json"))
    args = parser.parse_args()
    rows, faults = try_files(args.kinds, args.files)
    if args.losses:
        rows.append({"what": "random losses against the reference", "tried": try_losses(args.losses), "fault": 0})
    if args.kills:
        rows.append(_row("trainings killed and begun again", *try_kills(args.kills)))
        rows.append(_row("predictions with exports killed and begun again", *try_prediction_kills(args.kills)))
    if not args.no_disks:
        rows.append(_row("trainings on a full disk", *try_full_disks()))
        rows += try_disks()
    content = {"date": date.today().isoformat(), "machine": platform.platform(), "rows": rows, "faults": faults}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(content, indent=1) + "\n")
    print(table(rows), *faults[:50], sep="\n")
    raise SystemExit(1 if any(row["fault"] for row in rows) else 0)


def try_files(kinds: list[str], count: int) -> tuple[list[dict], list[str]]:
    """Damaged files of each kind: the rows of the table, and what the faults say."""
    rows, faults = [], []
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder)) if kinds else {}
        for kind in kinds:
            outcomes, found = try_kind(kind, inputs[kind], count)
            rows.append({"what": f"damaged files: {kind}", "tried": count, "fault": 0, **outcomes})
            faults += found
    return rows, faults


def table(rows: list[dict]) -> str:
    """The rows in Markdown."""
    lines = [("what", *COLUMNS), ("---", *["---:"] * len(COLUMNS))]
    lines += [(row["what"], *(f"{row[name]:,}" if name in row else "" for name in COLUMNS)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(what: str, tried: int, lost: int) -> dict:
    return {"what": what, "tried": tried, "fault": lost}


if __name__ == "__main__":
    main()
