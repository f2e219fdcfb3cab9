"""Line search for a step length that satisfies the strong Wolfe conditions.

It computes with Python floats: each value decides where the next evaluation is.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A step length with the function's value and slope there, and other data."""

    length: float
    value: float  # infinity where the function is not finite
    slope: float
    data: Any


Evaluate = Callable[[float], Point]


def strong_wolfe(
    evaluate: Evaluate,
    start: Point,
    length: float,
    *,
    sufficient: float = 1e-4,
    curvature: float = 0.9,
    max_evaluations: int = 25,
    min_bracket: float = 0.0,
) -> tuple[Point, int]:
    """Finds a point that satisfies the strong Wolfe conditions.

    These are `value <= start.value + sufficient * length * start.slope` and
    `|slope| <= curvature * |start.slope|`. If none is found, the lowest known point.

    Args:
        evaluate: returns the point of a step length.
        start: the point of length 0, with a negative slope.
        length: the first length to try, positive.
        sufficient: fraction of the first slope by which the function must decrease.
        curvature: fraction of the first slope that may remain.
        max_evaluations: maximum number of evaluations.
        min_bracket: width of the bracket below which the search ends.

    Returns:
        The point, and the number of evaluations.

    Source: Nocedal & Wright, 2006, "Numerical optimization", algorithms 3.5 and 3.6,
    with the interpolation and the safeguards of `torch.optim.LBFGS`.
    """

    def too_high(point: Point) -> bool:
        line = start.value + sufficient * point.length * start.slope
        return not point.value <= line  # a NaN is too high

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -curvature * start.slope

    previous, point, used = start, evaluate(length), 1
    while True:  # bracket
        if too_high(point) or (used > 2 and point.value >= previous.value):
            break
        if flat(point):
            return point, used
        if point.slope >= 0 or used >= max_evaluations:
            break
        lower = point.length + 0.01 * (point.length - previous.length)
        longer = _interpolate(previous, point, lower, 10 * point.length)
        previous, point, used = point, evaluate(longer), used + 1

    low, high = sorted((previous, point), key=lambda p: p.value)
    stuck = False
    while used < max_evaluations:  # zoom
        left, right = sorted((low.length, high.length))
        if right - left < min_bracket or right == left:
            break
        trial = _interpolate(low, high, left, right)
        trial, stuck = _keep_inside(trial, left, right, stuck)
        point, used = evaluate(trial), used + 1
        if too_high(point) or point.value >= low.value:
            high = point
            continue
        if flat(point):
            return point, used
        if point.slope * (high.length - low.length) >= 0:
            high = low
        low = point
    return low, used


def _interpolate(a: Point, b: Point, lower: float, upper: float) -> float:
    """The minimum within bounds of the cubic through two points with their slopes."""
    if a.length > b.length:
        a, b = b, a
    values = (a.value, b.value, a.slope, b.slope)
    if all(map(math.isfinite, values)) and a.length < b.length:
        mean = 3 * (a.value - b.value) / (a.length - b.length)
        d1 = a.slope + b.slope - mean
        square = d1 * d1 - a.slope * b.slope
        if square >= 0:
            d2 = math.sqrt(square)
            denominator = b.slope - a.slope + 2 * d2
            if denominator != 0:
                fraction = (b.slope + d2 - d1) / denominator
                length = b.length - (b.length - a.length) * fraction
                return min(max(length, lower), upper)
    return (lower + upper) / 2


def _keep_inside(
    trial: float, left: float, right: float, stuck: bool
) -> tuple[float, bool]:
    """Moves a trial away from the ends of the bracket if it is near one twice in a row.

    Returns the trial, and whether it stays near an end.
    """
    margin = 0.1 * (right - left)
    if min(right - trial, trial - left) >= margin:
        return trial, False
    if not stuck and left < trial < right:
        return trial, True
    return (right - margin if right - trial < trial - left else left + margin), False
