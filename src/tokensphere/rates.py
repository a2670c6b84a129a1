"""The rate of an exponential decay, from a measured error curve, with its uncertainty.

A curve of errors has a transient, a straight stretch on a logarithmic scale, and a floor set by
rounding or by the tolerance of an integration. :func:`fit_exponential` finds the stretch, and
refuses what has none. What decides is the local rate ``-d log(error)/dt``: along an exponential it
settles, and its remaining change dies out geometrically. Along ``t^-p`` it never settles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokensphere.door import array, at_least, takes, whole

__all__ = ["ExponentialFit", "fit_exponential"]

FEWEST = 9
"""Points that a window needs: three in each third, so that each has a slope and a scatter."""

FOLDINGS = 2.0
"""Factors of e that a window must span."""

SCATTER = 0.1
"""Largest root mean square of log(error) about the line: one tenth, ten percent of the error."""

UNSETTLED = 0.1
"""Largest relative difference between the rate and the limit its trend points to, and the largest
relative standard error."""

NEGLIGIBLE = 1e-4
"""A relative change of the local rate along the window that is not followed up any further."""

ABOVE_FLOOR = (10.0, 100.0, 1000.0)
"""How far above a plateau a window may end; the choice is that of the smallest error."""

STARTS = 40
"""Beginnings that are tried for a window."""


@dataclass(frozen=True)
class ExponentialFit:
    """``error ~ prefactor * t^power * exp(-rate * t)`` on a window of times.

    Attributes:
        rate: per unit of `times`.
        standard_error: of the rate. It covers the scatter about the line, with the correlation of
            neighbouring residuals, and the drift of the local rate along the window.
        window: the first and the last time used.
        points: how many points lie in it.
        foldings: rate times the window's length.
        prefactor: the line's value at t = 0.
        floor: the level of the plateau that was found, 0 if there was none.
        power: the one that was asked for.
    """

    rate: float
    standard_error: float
    window: tuple[float, float]
    points: int
    foldings: float
    prefactor: float
    floor: float
    power: int = 0

    def __call__(self, times: ArrayLike) -> NDArray[np.float64]:
        """The fitted curve at `times`, any shape."""
        times = np.asarray(times, dtype=float)
        return self.prefactor * times**self.power * np.exp(-self.rate * times)


@takes(times=array("T"), error=array("T"), power=whole(), floor=at_least(0.0))
def fit_exponential(
    times: ArrayLike, error: ArrayLike, *, power: int = 0, floor: float = 0.0
) -> ExponentialFit:
    """Fits ``error ~ C t^power exp(-rate t)`` to the tail of an error curve.

    The window ends at the last time, or well above the plateau if the curve runs into one; its
    start is the one that makes the standard error smallest. The rate is the slope of the
    least-squares line through log(error). The drift that goes into the standard error is the
    largest of: the difference of slopes between the window's halves, that difference's own
    standard error, and twice the distance from the slope to the limit of the slopes of the
    window's thirds, extrapolated geometrically (Aitken).

    A component that dominates the whole curve hides a slower one, here as everywhere.

    Args:
        times: (T,), strictly increasing; numpy array, torch tensor or sequence.
        error: (T,), positive, or zero if there is a floor.
        power: exponent of a polynomial factor, divided out first; times must then be positive.
        floor: what comes after the last value above this is left out, in the unit of `error`; for
            instance the tolerance of an integration. A plateau above it is found without help.
    Raises:
        ValueError: a wrong shape, values that are not finite or not positive, unsorted times, fewer
            than FEWEST points or FOLDINGS factors of e above the floor, an error that grows or
            oscillates, or whose decay is not exponential: the local rate does not settle. Clean
            algebraic decay t^-p is refused for p up to about FOLDINGS / NEGLIGIBLE / 2.
    """
    times, error = _checked(times, error, power, floor)
    log = np.log(error)
    stop = len(log)
    if floor > 0:
        above = np.flatnonzero(error > floor)
        if not len(above):
            raise ValueError(f"error: all of it is at or below the floor {floor:g}")
        stop = int(above[-1]) + 1
    _check_does_not_grow(times[:stop], log[:stop])
    level = _plateau(times[:stop], log[:stop])
    stops = [stop]
    if level is not None:
        stops = [
            int(np.flatnonzero(log[:stop] > level + np.log(factor))[-1]) + 1
            for factor in ABOVE_FLOOR
            if (log[:stop] > level + np.log(factor)).any()
        ]
        floor = max(floor, float(np.exp(level)))
    fits, reasons = [], []
    for last in stops:
        for first in sorted(set(np.linspace(0, max(last - FEWEST, 0), STARTS).astype(int))):
            part = slice(first, last)
            if power and times[first] == 0:
                continue
            line = log[part] - (power * np.log(times[part]) if power else 0.0)
            found = _line(times[part], line)
            if len(found) == 2:
                reasons.append(found)
            else:
                fits.append((found, first, last))
    if not fits:
        where = f" above its floor, about {floor:.1e}" if level is not None else ""
        # Of the window that came furthest.
        reason = max(reasons)[1] if reasons else "too few points"
        raise ValueError(f"error: no exponential decay{where}: {reason}")
    (spread, rate, intercept), first, last = min(fits, key=lambda fit: fit[0][0])
    begin, end = float(times[first]), float(times[last - 1])
    return ExponentialFit(
        rate=rate,
        standard_error=spread,
        window=(begin, end),
        points=last - first,
        foldings=rate * (end - begin),
        prefactor=float(np.exp(intercept)),
        floor=floor,
        power=power,
    )


def _line(
    times: NDArray[np.float64], log: NDArray[np.float64]
) -> tuple[float, float, float] | tuple[int, str]:
    """(standard error, rate, intercept) of the line through log, or (stage, why there is none)."""
    if len(times) < FEWEST:
        return 0, f"{len(times)} points, takes {FEWEST} or more"
    slope, spread, intercept, residual = _slope(times, log)
    rate, length = -slope, times[-1] - times[0]
    if rate <= 3 * spread:
        return 1, f"the error does not fall: rate {rate:.2g} +- {spread:.1g}"
    if rate * length < FOLDINGS:
        return 2, f"it falls by {rate * length:.2g} factors of e, takes {FOLDINGS:g} or more"
    scatter = float(np.sqrt(np.mean(residual**2)))
    if scatter > SCATTER:
        return 3, f"log(error) is off the line by {scatter:.2g} in root mean square"
    halves, thirds = _parts(times, log, 2), _parts(times, log, 3)
    if halves is None or thirds is None:
        return 4, "too few points in a half or a third of the window"
    (early, late), noise = halves
    drift = max(abs(early - late), noise)  # what the noise can hide may be there
    (one, two, three), noise = thirds
    change, rest = one - two, two - three
    moved = max(abs(change), abs(rest))
    if moved > max(NEGLIGIBLE * rate, 3 * noise):
        ratio = rest / change if change else np.inf
        # Aitken's limit of a geometric sequence; a sequence that is none goes nowhere.
        limit = three - rest * ratio / (1 - ratio) if abs(ratio) < 1 else np.inf
        off = abs(rate - limit)
        if off > UNSETTLED * rate:
            return 6, (
                f"the local rate does not settle (it is {one:.3g}, {two:.3g}, {three:.3g} in the "
                "thirds of the window), as in algebraic decay"
            )
        # Twice: where the rate settles like 1/t, this limit is half the way to the true one.
        drift = max(drift, 2 * off)
    total = float(np.hypot(spread, drift))
    if total > UNSETTLED * rate:
        return 5, f"the local rate is known no better than {rate:.3g} +- {total:.2g}"
    return total, float(rate), float(intercept)


def _slope(
    times: NDArray[np.float64], log: NDArray[np.float64]
) -> tuple[float, float, float, NDArray[np.float64]]:
    """Slope, its standard error with correlated residuals, intercept, residuals."""
    # Not scipy.stats.linregress: its error comes from 1 - r^2, which rounding spoils below 1e-8.
    count, middle = len(times), times.mean()
    centred = times - middle
    slope = centred @ log / (centred @ centred)
    intercept = log.mean() - slope * middle
    residual = log - intercept - slope * times
    power = residual @ residual
    correlation = residual[1:] @ residual[:-1] / power if power else 0.0
    # n points of an AR(1) sequence count as n (1 - c)/(1 + c), but not as fewer than two.
    correlation = min(max(correlation, 0.0), 1 - 2 / count)
    stretch = np.sqrt((1 + correlation) / (1 - correlation))
    spread = stretch * np.sqrt(power / max(count - 2, 1) / (centred @ centred))
    rounding = np.finfo(float).eps * abs(log).max() / (times[-1] - times[0])
    return slope, spread + rounding, intercept, residual


def _parts(
    times: NDArray[np.float64], log: NDArray[np.float64], count: int
) -> tuple[list[float], float] | None:
    """Rates on `count` equal stretches of time, and the standard error of a difference of two."""
    edges = np.searchsorted(times, np.linspace(times[0], times[-1], count + 1)[1:-1])
    pieces = list(zip(np.split(times, edges), np.split(log, edges), strict=True))
    if min(len(t) for t, _ in pieces) < 3:
        return None
    slopes = [_slope(t, y)[:2] for t, y in pieces]
    return [-slope for slope, _ in slopes], float(np.sqrt(2) * max(s for _, s in slopes))


def _check_does_not_grow(times: NDArray[np.float64], log: NDArray[np.float64]) -> None:
    """Refuses an error that ends e^3 or more above where it was: noise alone moves less."""
    smooth = _running_median(log)
    ending = max(3, len(log) // 10)
    final = np.median(log[-ending:])
    # t^k exp(-r t) rises first, and falls from its maximum on.
    smooth = smooth[:-ending]
    highest = int(np.argmax(smooth))
    lowest = int(np.argmin(smooth))
    if final < smooth[highest]:
        lowest = highest + int(np.argmin(smooth[highest:]))
    if final > smooth[lowest] + 3:
        raise ValueError(f"error: grows from t = {times[lowest]:g} on")


def _plateau(times: NDArray[np.float64], log: NDArray[np.float64]) -> float | None:
    """The log of the highest value on the plateau at the end, None if there is no plateau.

    The end is one if the last two factors of e take more than three times as long as the decay
    before would need, and the second half of that time brings less than it would along 1/t, 0.8.
    """
    smooth = _running_median(log)
    final = np.median(smooth[-max(3, len(log) // 10) :])
    envelope = np.maximum.accumulate(smooth[::-1])[::-1]
    if envelope[0] < final + 2:
        return None  # less than two factors of e in all: refused later, for that
    begin = int(np.argmax(envelope <= final + 2))
    before = int(np.argmax(envelope <= min(final + 5, envelope[0])))
    fall = envelope[before] - envelope[begin]
    pace = (times[begin] - times[before]) / fall if fall > 0 else 0.0
    middle = (begin + len(log)) // 2
    gain = np.median(smooth[begin:middle]) - np.median(smooth[middle:]) if middle > begin else 2.0
    if times[-1] - times[begin] > 6 * pace and gain < 0.75:
        return float(log[middle:].max())
    return None


def _running_median(values: NDArray[np.float64], width: int = 5) -> NDArray[np.float64]:
    padded = np.pad(values, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def _checked(
    times: ArrayLike, error: ArrayLike, power: float, floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    arrays = {}
    for name, value in {"times": times, "error": error}.items():
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if value.ndim != 1:
            raise ValueError(f"{name}: shape {value.shape}, takes (T,)")
        value = value.astype(np.float64)
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: holds NaN or infinity")
        arrays[name] = value
    times, error = arrays["times"], arrays["error"]
    if len(times) != len(error):
        raise ValueError(f"times and error: lengths {len(times)} and {len(error)} differ")
    if len(times) < FEWEST:
        raise ValueError(f"error: {len(times)} points, takes {FEWEST} or more")
    if (np.diff(times) <= 0).any():
        raise ValueError("times: takes strictly increasing times")
    if isinstance(power, bool) or not isinstance(power, int):
        raise ValueError(f"power: got {power!r}, takes an integer")
    if power and times[0] < 0:
        raise ValueError(f"times: begin at {times[0]:g}, take t >= 0 when power is not 0")
    if not (np.isfinite(floor) and floor >= 0):
        raise ValueError(f"floor: got {floor}, takes a finite number, not negative")
    if error.min() < 0 or (error.min() == 0 and floor == 0):
        raise ValueError(f"error: holds {error.min():g}, takes positive numbers (or a floor)")
    return times, np.maximum(error, floor)
