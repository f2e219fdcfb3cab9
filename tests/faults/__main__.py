"""Long tests of groups of processes: minutes, so not part of the test suite.

    python -m tests.faults kills --count 20    # kill -9 at random moments, and go on
    python -m tests.faults sums --count 20000  # whether MLX's ring ever hangs

`make test-faults` runs both.
"""

import argparse
import random
import sys

from tests.faults import kills, sums


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, count in (("kills", 20), ("sums", 20_000)):
        command = commands.add_parser(name)
        command.add_argument("--count", type=int, default=count)
        command.add_argument("-n", "--workers", type=int, default=2)
        command.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    chosen = parser.parse_args()
    run = kills.run if chosen.command == "kills" else sums.run
    return run(chosen.count, chosen.workers, chosen.seed)


if __name__ == "__main__":
    sys.exit(main())
