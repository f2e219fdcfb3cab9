"""The command line: `python -m lucid_fn doctor`, `demo` and `launch`."""

import argparse
import sys
from collections.abc import Sequence
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named in `arguments` and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lucid_fn",
        description="Functional deep learning for MLX: pure functions over trees.",
    )
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="command")
    _add_doctor(commands)
    _add_demo(commands)
    _add_launch(commands)
    chosen = parser.parse_args(arguments)
    if chosen.run is None:
        parser.print_help()
        return 2
    return int(chosen.run(chosen))


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say what makes this machine fast or slow, and what to do",
        description="Checks and times everything that decides how fast lucid_fn is. "
        "The exit code is 1 if something is broken, else 0.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument(
        "--selftest",
        action="store_true",
        help="also compute every kind of layer, loss and optimizer, and compare with "
        "the CPU (a minute)",
    )
    doctor.set_defaults(run=_doctor)


def _doctor(chosen: argparse.Namespace) -> int:
    from lucid_fn import doctor  # only for this command

    checks = doctor.examine()
    if chosen.selftest:
        checks.append(doctor.selftest())
    print(doctor.as_json(checks) if chosen.json else doctor.as_text(checks))
    return int(any(check.verdict == "broken" for check in checks))


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="train LeNet-5 on MNIST",
        description="Trains LeNet-5 on MNIST and prints its test accuracy. "
        "The exit code is 1 if that is not possible, else 0.",
    )
    demo.add_argument(
        "--data", help="folder with MNIST's four files; they are downloaded otherwise"
    )
    demo.add_argument("--epochs", type=int, default=3, help="3 by default")
    demo.add_argument("--out", help="a .json file for the record of the run")
    demo.set_defaults(run=_demo)


def _demo(chosen: argparse.Namespace) -> int:
    from lucid_fn import demo

    try:
        demo.run(chosen.data, epochs=chosen.epochs, out=chosen.out)
    except (OSError, ValueError) as error:  # no data, no network, a wrong number
        print(error, file=sys.stderr)
        return 1
    return 0


def _add_launch(commands: Commands) -> None:
    launch = commands.add_parser(
        "launch",
        help="run a script in several processes that train together",
        description="Runs a Python script in several processes, for "
        "lucid_fn.distributed. If one fails, all are terminated, and its exit code is "
        "returned.",
    )
    launch.add_argument(
        *("-n", "--workers"), type=int, default=1, help="processes on each host"
    )
    launch.add_argument(
        "--hosts",
        default="127.0.0.1",
        help="comma-separated addresses, or a .json file in the format of mlx.launch",
    )
    launch.add_argument(
        "--restart",
        type=int,
        default=0,
        dest="restarts",
        metavar="K",
        help="restart all processes up to K times after a failure; give fit a "
        "checkpoint to resume from",
    )
    launch.add_argument(
        "--timeout",
        type=float,
        help="seconds without a heartbeat or a step after which a process counts as "
        "dead; 300 by default",
    )
    launch.add_argument(
        "--port", type=int, help="the first port on other machines; 32323 by default"
    )
    launch.add_argument("script", help="the script; its arguments follow")
    launch.add_argument("arguments", nargs=argparse.REMAINDER)
    launch.set_defaults(run=_launch, error=launch.error)


def _launch(chosen: argparse.Namespace) -> int:
    from lucid_fn.distributed import launch

    if chosen.workers < 1:
        chosen.error(f"-n must be at least 1, got {chosen.workers}")
    if chosen.restarts < 0:
        chosen.error(f"--restart must be at least 0, got {chosen.restarts}")
    if chosen.timeout is not None and not chosen.timeout > 0:
        chosen.error(f"--timeout must be positive, got {chosen.timeout}")
    try:
        hosts = launch.read_hosts(chosen.hosts)
    except ValueError as error:
        chosen.error(str(error))
    if not hosts:
        chosen.error("--hosts must name a host, got none")
    return launch.launch(
        [chosen.script, *chosen.arguments],
        workers=chosen.workers,
        hosts=hosts,
        restarts=chosen.restarts,
        timeout=chosen.timeout,
        port=chosen.port,
    )


if __name__ == "__main__":
    sys.exit(main())
