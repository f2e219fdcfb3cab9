"""The command line: `python -m lucid_fn doctor`."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that `arguments` name; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lucid_fn",
        description="Functional deep learning for MLX: pure functions over trees.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    doctor = commands.add_parser(
        "doctor",
        help="say what makes this machine fast or slow, and what to do",
        description="Checks and times what decides the speed of lucid_fn here. "
        "The exit code is 1 if something is broken, else 0.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 2
    return _doctor(as_json=chosen.json)


def _doctor(*, as_json: bool) -> int:
    from lucid_fn import doctor  # only when asked for

    checks = doctor.examine()
    print(doctor.as_json(checks) if as_json else doctor.as_text(checks))
    return int(any(check.verdict == "broken" for check in checks))


if __name__ == "__main__":
    sys.exit(main())
