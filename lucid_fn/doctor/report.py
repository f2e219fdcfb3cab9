"""The report of all checks, as text and as JSON."""

import json
import platform
import textwrap
from collections.abc import Callable
from importlib.metadata import version

from lucid_fn import __version__
from lucid_fn.doctor import machine, timings
from lucid_fn.doctor.check import Check

CHECKS = (
    *(machine.device, machine.load, machine.blas, machine.allocator),
    *(machine.compiler, machine.merging, machine.kernels, machine.environment),
    *(timings.matmul, timings.conv2d, timings.elementwise),
)
WIDTH, INDENT = 88, 21


def examine() -> list[Check]:
    """Check everything that determines the speed here; takes a few seconds.

    Returns:
        The result of each check.

    Example:
        >>> from lucid_fn import doctor
        >>> checks = doctor.examine()  # doctest: +SKIP
    """
    return [_run(check) for check in CHECKS]


def as_text(checks: list[Check]) -> str:
    """The report for people.

    Args:
        checks: what `examine` returns.

    Example:
        >>> from lucid_fn import doctor
        >>> check = doctor.Check("device", "ok", "MLX computes on the CPU")
        >>> print(doctor.as_text([check]))
        lucid_fn ...
        <BLANKLINE>
        ok      device       MLX computes on the CPU
        <BLANKLINE>
        All is well.
    """
    lines = [
        ", ".join(f"{name} {version}" for name, version in _versions().items()),
        "",
    ]
    for check in checks:
        lines += _wrapped(f"{check.verdict:<8}{check.name:<13}", check.found)
        if check.advice:
            lines += _wrapped(" " * INDENT + "-> ", check.advice)
    return "\n".join([*lines, "", _summary(checks)])


def as_json(checks: list[Check]) -> str:
    """The report for programs: `versions`, and `checks` with the fields of `Check`.

    Args:
        checks: what `examine` returns.

    Example:
        >>> import json
        >>> from lucid_fn import doctor
        >>> check = doctor.Check("device", "ok", "MLX computes on the CPU")
        >>> json.loads(doctor.as_json([check]))["checks"][0]["verdict"]
        'ok'
    """
    fields = [check._asdict() for check in checks]
    return json.dumps({"versions": _versions(), "checks": fields}, indent=2)


def _summary(checks: list[Check]) -> str:
    """Name what is broken or slow."""
    parts = []
    for verdict in ("broken", "slow"):
        names = [check.name for check in checks if check.verdict == verdict]
        parts += [f"{verdict}: {', '.join(names)}"] if names else []
    return "; ".join(parts) or "All is well."


def _run(check: Callable[[], Check]) -> Check:
    """The result of a check; if it raises, a broken one."""
    try:
        return check()
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        advice = "if nothing above explains it, please report it"
        return Check(check.__name__, "broken", textwrap.shorten(found, 400), advice)


def _versions() -> dict[str, str]:
    return {
        "lucid_fn": __version__,
        "mlx": version("mlx"),
        "python": platform.python_version(),
        platform.system(): platform.machine(),
    }


def _wrapped(head: str, text: str) -> list[str]:
    """`text` wrapped behind `head`, with a hanging indent."""
    indent = " " * max(len(head), INDENT)
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=indent)
