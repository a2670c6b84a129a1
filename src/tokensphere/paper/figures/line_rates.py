"""Figures of tokens on the line: how fast they decay, grow slowly, and go to a blow-up."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from tokensphere.one_dimension import decay as line_decay
from tokensphere.one_dimension import simulate
from tokensphere.one_dimension.last_growth import double_logarithm

from . import drawing
from .drawing import COLOURS, GREY, axes

Curves = Mapping[str, tuple[ArrayLike, ArrayLike | float | None]]
"""By label, a measured curve, (T,), and the law or the limit for it."""


def _curves(ax: Axes, x: ArrayLike, curves: Curves) -> None:
    """Full lines, and their laws dashed in the same colour; a law of None is left out."""
    for (label, (curve, law)), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(x, curve, color=colour, label=label)
        if law is not None:
            ax.plot(x, np.broadcast_to(law, np.shape(x)), "--", color=colour, lw=1.0)
    drawing.legend(ax)


def decay(
    mu: float, s: float, a: float, starts: Mapping[str, float], late: ArrayLike, errors: Curves
) -> Figure:
    """Left, |x_l| and sqrt(c_l / t) to ln t = 20; right, |t x_l^2 / c_l - 1| and its law, log-log.

    starts: first values by name, zeros too. late: ln t of the right panel, (T,).
    """
    figure, [[left, right]] = axes(2)
    early, x0 = torch.linspace(-3, 20, 200, dtype=torch.float64), list(starts.values())
    found = simulate(mu, s, a, x0, early).log_x.exp()
    laws = (line_decay.limits(mu, a, x0) / early.exp()[:, None]).sqrt()
    shown = {name: (found[:, l], laws[:, l]) for l, name in enumerate(starts) if x0[l]}
    for ax, at, curves in ((left, early, shown), (right, late, errors)):
        _curves(ax, np.exp(np.asarray(at)), curves)
        ax.set(xscale="log", yscale="log", xlabel="time $t$")
    left.set(ylabel=r"$|x_l|$, and $\sqrt{c_l/t}$ dashed")
    right.set(ylabel=r"$|t\,x_l^2/c_l-1|$, and its law dashed")
    return figure


def without_damping(log_times: Tensor, shares: Mapping[float, Tensor], ratios: Tensor) -> Figure:
    """Left, t x_2^2 by lim t x_1^2 for values of a, dashed its limit, or 1/ln t at a = 0. Right,
    (x_{l-1}/x_l)^2 at a = 0, dashed ln t, ln ln t, ln ln ln t.

    log_times: ln t, (T,), drawn on a logarithmic axis. shares: (T,) each; ratios: (T, 3).
    """
    figure, [[left, right]] = axes(2)
    nan = torch.tensor(math.nan, dtype=torch.float64)
    crossing = {}
    for a, share in shares.items():
        limit = torch.full_like(share, 1 - 2**-a) if a else 1 / log_times
        late = log_times > (0.3 / a if a else 3.0)
        crossing[f"a = {a:g}"] = (share, torch.where(late, limit, nan))
    _curves(left, log_times, crossing)
    laws = [log_times, log_times.log(), log_times.log().log()]
    names = ["second", "third", "fourth"]
    _curves(right, log_times, dict(zip(names, zip(ratios.mT, laws, strict=True), strict=True)))
    left.set(ylabel=r"$t\,x_2^2\,/\,\lim t\,x_1^2$", ylim=(1e-4, 2))
    right.set(ylabel=r"$a=0$: ratios $x_{l-1}^2/x_l^2$", ylim=(0.5, float(ratios.max())))
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel=r"$\ln t$")
    return figure


def slow_fan(log_times: Tensor, y: Tensor, laws: Tensor, reset: Curves) -> Figure:
    """Left, |s x_l| with its law, and powers of ln t; right, tokens behind zeros.

    log_times: ln t, (T,). y, laws: (T, L), L to 4. reset: |s x_l| - |s x_1|, and its limit.
    """
    figure, [[left, right]] = axes(2)
    for power in (1, 2, 3):
        left.plot(log_times, log_times**power, ":", color=GREY)
        if power > 1:  # below where the line leaves the panel
            at = 1e6 ** (1 / power) / 2
            left.text(at, at**power, rf"$(\ln t)^{power}$ ", fontsize=drawing.SMALL, ha="right")
    left.text(20, 15, r"$\ln t$", fontsize=drawing.SMALL, va="top")  # the tokens are above it
    names = ["first", "second", "third", "fourth"]
    _curves(left, log_times, dict(zip(names, zip(y.mT, laws.mT, strict=True), strict=False)))
    _curves(right, log_times, reset)
    left.set(ylim=(1, 1e6), ylabel=r"$|s\,x_l|$, expansion dashed")
    right.set(ylabel=r"behind zeros: $|s\,x_l|-|s\,x_1|$")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel=r"$\ln t$")
    return figure


def to_the_end(
    left_over: Tensor, firsts: Curves, log_x: Tensor, powers: Curves, carried: Sequence[int], rate
) -> Figure:
    """First tokens and laws against (T - t)/T; against ln ln|x_first|, ln|x_l| / ln|x_first| with
    limits, and rate |x_l| of carried tokens, the first of them with the double logarithm.

    left_over: (T - t)/T, (T,). log_x: ln|x_l| along the way, (n, L), token 0 first. powers: by
    label. carried: indices of tokens with s x_l > 0. rate: a |s|.
    """
    figure, [[ends, shares, logarithms]] = axes(3)
    level = log_x[:, 0].log()
    _curves(ends, left_over, firsts)
    _curves(shares, level, powers)
    # The law is for large logarithms.
    before = log_x[:, carried[0] - 1].tolist()
    law = [rate * double_logarithm(rate, 1.0, t) if t > 8 else math.nan for t in before]
    names = dict(zip(("carried", "behind it"), carried, strict=False))
    law = {"carried": law}
    _curves(
        logarithms, level, {k: (rate * log_x[:, l].exp(), law.get(k)) for k, l in names.items()}
    )
    ends.set(xscale="log", yscale="log", xlabel="$(T-t)/T$", ylabel=r"$|x_{first}|$, law dashed")
    ends.invert_xaxis()
    shares.set(ylabel=r"$\ln|x_l|\,/\,\ln|x_{first}|$", ylim=(-0.1, 1.1))
    logarithms.set(ylabel=r"$a\,s\,x_l$, law dashed")
    for ax in (shares, logarithms):
        ax.set(xlabel=r"$\ln\,\ln|x_{first}|$")
    return figure
