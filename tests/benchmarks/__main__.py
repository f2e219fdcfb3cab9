"""Times training steps against the peers, and writes docs/benchmarks.md.

make bench
.venv/bin/python -m tests.benchmarks --only lenet-64 vit --rounds 3
"""

import argparse
import json
from pathlib import Path

from tests.benchmarks import growth, report, startup
from tests.benchmarks.turns import ROOT, race
from tests.benchmarks.workloads import MAIN, WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*WORKLOADS, "imports", "growth"])
    parser.add_argument("--rounds", type=int, help="turns; 15 of the main ones, else 5")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.json")
    args = parser.parse_args()
    chosen = args.only or [*WORKLOADS, "imports", "growth"]

    # Parts that are not measured again keep the numbers of the last time.
    measured = json.loads(args.out.read_text()) if args.out.exists() else {}
    measured["machine"] = report.machine()
    for name in chosen:
        print(name, flush=True)
        if name == "imports":
            measured[name] = startup.measure()
        elif name == "growth":
            measured[name] = growth.measure()
        else:
            results = race(name, args.rounds or (15 if name in MAIN else 5))
            measured[name] = [
                {
                    "label": r.label,
                    "median": r.median,
                    "fastest": min(r.times),
                    "first": r.first,
                    "peak": r.peak,
                    "scaled_from": r.scaled_from,
                }
                for r in results
            ]
            for r in results:
                print(f"  {r.label}: {r.median * 1e3:.2f} ms", flush=True)
            print(f"  {report.verdict(measured[name])}", flush=True)
        args.out.write_text(json.dumps(measured, indent=1) + "\n")
    report.write(measured, args.out.parent)


if __name__ == "__main__":
    main()
