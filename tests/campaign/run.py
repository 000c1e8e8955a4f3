"""Faults on purpose, by the thousand: damaged files, random losses, kills, full disks; a table of what came of it.

make campaign                                     # about a quarter of an hour
PYTHONPATH=tests:tests/campaign python tests/campaign/run.py --files 200 --losses 200 --kills 3
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from datetime import date
from pathlib import Path

from faults import try_full_disks, try_kills
from inputs import write_inputs
from losses import try_losses
from readers import READERS, try_kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="damaged files of each kind")
    parser.add_argument("--losses", type=int, default=2000, help="random losses")
    parser.add_argument("--kills", type=int, default=10, help="kills of a training")
    parser.add_argument("--kinds", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--json", type=Path, default=Path("build/campaign.json"))
    args = parser.parse_args()
    rows, faults = [], []
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder))
        for kind in args.kinds:
            outcomes, found = try_kind(kind, inputs[kind], args.files)
            rows.append({"what": f"damaged files: {kind}", "tried": args.files, "fault": 0, **outcomes})
            faults += found
    if args.losses:
        rows.append({"what": "random losses against the reference", "tried": try_losses(args.losses), "fault": 0})
    if args.kills:
        for what, (tried, lost) in {
            "trainings killed at a random moment": try_kills(args.kills),
            "trainings on a full disk": try_full_disks(),
        }.items():
            rows.append({"what": what, "tried": tried, "fault": lost})
    content = {"date": date.today().isoformat(), "machine": platform.platform(), "rows": rows, "faults": faults}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{'what':45} {'tried':>8} {'read':>8} {'refused':>8} {'faults':>8}")
    for row in rows:
        cells = (row.get(name, "") for name in ("tried", "read", "refused", "fault"))
        print(f"{row['what']:45}" + "".join(f" {cell:>8}" for cell in cells))
    print(*faults[:50], sep="\n")
    raise SystemExit(1 if faults or any(row.get("fault") for row in rows) else 0)


if __name__ == "__main__":
    main()
