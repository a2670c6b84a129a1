"""Reordered layers of the paper's flow: how fast tokens come together, and where.

A layer of step h reads tokens in an order of its own,

    x_i <- z_i / |z_i|,        z_i = x_i + h sum_j A_ij x_j over the j read no later than i,

with A the attention of eq (11) or (13) in that order. Theorems, propositions and proofs are in the
chapter on reordered training. "Rates" are exponential, -lim ln d(t) / t, for tokens near consensus,
where d is any distance between them. An order is a permutation of 0..L-1: the places of the tokens,
in the order in which they are read.

Random orders are drawn on the CPU, so that a seed gives the same ones on every device.

One file of over 400 lines, because it is one chapter's theory: each function states its formula.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import each, instance, positive, share, takes, tensor, whole

from ..flow import AutoregressiveFlow, SharedStepFlow, random_tokens
from ..flow.checks import check_square, check_tensor, check_tokens
from ..other_tokens import interactions
from .arguments import check_count, check_positive

__all__ = [
    "attention_rate",
    "cone_normal",
    "contraction",
    "decay_rate",
    "diameter",
    "ends_by_depth",
    "fresh_orders",
    "greedy_orders",
    "one_order",
    "reordered_layers",
    "shared_step_factor",
    "slow_switching_rate",
    "switching_rate",
    "two_token_spread",
]

Flow = SharedStepFlow | AutoregressiveFlow

# Tokens read in an order of each layer's own.


@takes(layers=whole(1), passes=whole(1), length=whole(1), generator=instance(torch.Generator))
def fresh_orders(layers: int, passes: int, length: int, generator: torch.Generator) -> Tensor:
    """An order for each layer of each pass, independent and uniform: (layers, passes, L), long.

    Args:
        layers, passes, length: numbers of layers, of passes and of tokens L, >= 1.
        generator: on the CPU.

    Raises:
        ValueError: a number that is not a whole one >= 1.
    """
    for name, value in {"layers": layers, "passes": passes, "length": length}.items():
        check_count(name, value, 1)
    return torch.rand(layers, passes, length, generator=generator).argsort(-1)


@takes(orders=tensor("K", "P", "L", kinds="i", alike=False))
def one_order(orders: Tensor) -> Tensor:
    """Every pass keeps the order of its first layer: (layers, passes, L), of the same shape."""
    return orders[:1].expand_as(orders)


@takes(
    x0=tensor("...", "L", "D", alike=False),
    step=positive(),
    orders=tensor("K", "P", "L", kinds="i", alike=False),
)
def reordered_layers(flow: Flow, x0: Tensor, step: float, orders: Tensor) -> Tensor:
    """The tokens before the first and after each layer, layer k in the order orders[k].

    Args:
        flow: its `layer` gives sum_j A_ij x_j; parameters may have leading dimensions `passes`.
        x0: (passes, L, D), float64, unit rows.
        step: h > 0, in units of time.
        orders: (layers, passes, L), each row a permutation of 0..L-1.

    Returns:
        (layers + 1, passes, L, D), each token in its own place.

    Raises:
        ValueError: an argument of another shape or value; what the flow raises.
    """
    return _path(flow.layer, x0, step, orders)


@takes(x0=tensor("...", "L", "D", alike=False), step=positive(), layers=whole(1))
def greedy_orders(flow: SharedStepFlow, x0: Tensor, step: float, layers: int) -> Tensor:
    """As :func:`reordered_layers`, with each pass's order chosen among all L! in each layer.

    Chosen is the one that leaves the largest :func:`diameter` after that layer, which need not be
    the best choice for the layers after it. Time and memory grow with L!.

    Raises:
        ValueError: an argument of another shape or value.
    """
    _check_passes(x0)
    check_positive("step", step)
    check_count("layers", layers, 1)
    normal = cone_normal(flow, x0)
    every = torch.tensor(list(itertools.permutations(range(x0.shape[-2]))), device=x0.device)
    path = [x0]
    for _ in range(layers):
        x = path[-1].expand(len(every), *x0.shape)
        found = _read(flow.layer, x, step, every[:, None].expand(*x.shape[:-1]))
        best = diameter(found, normal).argmax(0)
        path.append(found[best, torch.arange(len(x0), device=x0.device)])
    return torch.stack(path)


def _path(layer: Callable[[Tensor], Tensor], x0: Tensor, step: float, orders: Tensor) -> Tensor:
    _check_passes(x0)
    check_positive("step", step)
    places = torch.arange(x0.shape[-2])
    if orders.ndim != 3 or orders.shape[1:] != x0.shape[:-1]:
        wanted = f"(layers, {x0.shape[0]}, {x0.shape[1]})"
        raise ValueError(f"orders: shape {tuple(orders.shape)}, takes {wanted}")
    if (orders.sort(-1).values.cpu() != places).any():
        raise ValueError(f"orders: a row is no permutation of 0..{len(places) - 1}")
    path = [x0]
    for order in orders.to(x0.device):
        path.append(_read(layer, path[-1], step, order))
    return torch.stack(path)


def _read(layer: Callable[[Tensor], Tensor], x: Tensor, step: float, order: Tensor) -> Tensor:
    """One layer of tokens (..., L, D) in an order (..., L)."""
    index = order.unsqueeze(-1).expand_as(x)
    y = x.gather(-2, index)
    y = y + step * layer(y)
    return torch.empty_like(x).scatter(-2, index, y / y.norm(dim=-1, keepdim=True))


# With positive angles no orders prevent collapse.


@takes(x0=tensor("...", "L", "D", alike=False))
def cone_normal(flow: SharedStepFlow, x0: Tensor) -> Tensor:
    """n = S_BC x_1(0) / |S_BC x_1(0)|, (..., D), of the start x0, (..., L, D).

    Where all U_ij(0) = <x_i, S_BC x_j> are positive, tokens keep a positive part along n in all
    reordered layers.

    Raises:
        ValueError: tokens of another shape or off the sphere, an S_BC that is no constant matrix.
    """
    check_tokens(x0, check_square("flow.S_BC", flow.S_BC), 2, "x0")
    normal = (x0[..., :1, :] @ flow.S_BC.mT)[..., 0, :]
    return normal / normal.norm(dim=-1, keepdim=True)


@takes(x=tensor("...", "L", "D"), normal=tensor("...", "D"))
def diameter(x: Tensor, normal: Tensor) -> Tensor:
    """Largest distance (...) between the y_i = x_i / <x_i, n>, which lie in the plane <y, n> = 1.

    Args:
        x: (..., L, D), float64, with <x_i, n> > 0.
        normal: (..., D), the unit n.

    Raises:
        ValueError: tokens of another dtype, or not on the positive side of the plane.
    """
    check_tensor("x", x, 2)
    height = (x * normal.unsqueeze(-2)).sum(-1, keepdim=True)
    if not (height > 0).all():
        raise ValueError(f"x: <x_i, n> is {float(height.min()):g} at least, takes positive ones")
    y = x / height
    return (y.unsqueeze(-2) - y.unsqueeze(-3)).norm(dim=-1).flatten(-2).amax(-1)


@takes(x0=tensor("...", "L", "D", alike=False), step=positive())
def contraction(flow: SharedStepFlow, x0: Tensor, step: float) -> Tensor:
    """The delta of the theorem: each layer multiplies the :func:`diameter` by 1 - delta at most.

    With c = min U_ij(0) > 0, h_0 = c / |S_BC x_1(0)| and a_lo <= A_ij / U_ij <= a_hi,

        delta = h a_lo c h_0 / (1 + h L a_hi |S_BC|),

    whatever the orders. Of eq (11), A_ij / U_ij = Delta(x_j) e^{-a sum Delta}, the bounds are
    a_hi = softplus(|alpha|) and a_lo = softplus(-|alpha|) e^{-a (L - 1) a_hi}.

    Args:
        flow: S_BC (..., D, D) and alpha (..., D) go with the leading dimensions of x0.
        x0: (..., L, D), float64, unit rows.
        step: h > 0, in units of time.

    Returns:
        (...), each in (0, 1).

    Raises:
        ValueError: an argument of another shape or value; a U_ij(0) that is not positive.
    """
    check_tokens(x0, check_square("flow.S_BC", flow.S_BC), 2, "x0")
    check_positive("step", step)
    length, norm = x0.shape[-2], flow.alpha.norm(dim=-1)
    c = interactions(x0, flow.S_BC)[1].flatten(-2).amin(-1)
    if not (c > 0).all():
        raise ValueError(
            f"x0: the least <x_i, S_BC x_j> is {float(c.min()):g}, takes positive ones"
        )
    low, high = softplus(-norm), softplus(norm)
    lower = low * torch.exp(-flow.a * (length - 1) * high) * c
    upper = high * torch.linalg.matrix_norm(flow.S_BC, 2)
    height = c / (x0[..., :1, :] @ flow.S_BC.mT).norm(dim=-1)[..., 0]
    return step * lower * height / (1 + step * length * upper)


# How fast: the flow averaged over all orders, and orders that last.


@takes(length=whole(2))
def attention_rate(length: int) -> Fraction:
    """Rate of causal attention (V = I) averaged over all orders: (L - H_L) / (L - 1), exactly.

    H_L = 1 + 1/2 + ... + 1/L. In one order the rate is 1/2.

    Raises:
        ValueError: a length that is not a whole number >= 2.
    """
    check_count("length", length, 2)
    harmonic = sum((Fraction(1, k) for k in range(1, length + 1)), Fraction(0))
    return (length - harmonic) / (length - 1)


@takes(length=whole(2), q=share(closed=False))
def shared_step_factor(length: int, q: Fraction | float) -> Fraction | float:
    """Rate of eq (11) averaged over all orders, over its rate in one order.

    sum_{d<L} (L - d) q^{d-1} / (L - 1) with q = e^{-a Delta} at consensus; exact for a Fraction.

    Raises:
        ValueError: a length that is not a whole number >= 2, a q not in (0, 1).
    """
    check_count("length", length, 2)
    if not 0 < q < 1:
        raise ValueError(f"q: got {q}, takes a number between 0 and 1")
    return sum((length - d) * q ** (d - 1) for d in range(1, length)) / (length - 1)


@takes(
    x0=tensor("...", "L", "D", alike=False),
    step=positive(),
    orders=tensor("K", "P", "L", kinds="i", alike=False),
    skip=whole(0),
)
def decay_rate(flow: Flow, x0: Tensor, step: float, orders: Tensor, skip: int) -> Tensor:
    """Measured rate, (passes,), at which the tokens of each pass come together.

    Euler's method, not layers: a layer's own term A_ii x_i makes its steps shorter. The rate is the
    mean one of |x - mean token| after the first `skip` steps.

    Args:
        flow, x0, step, orders: as of :func:`reordered_layers`.
        skip: steps, from 0 to one fewer than `orders` has.

    Raises:
        ValueError: an argument of another shape or value.
    """
    if not 0 <= skip < len(orders):
        raise ValueError(f"skip: got {skip}, takes 0 to {len(orders) - 1}, fewer than the steps")
    path = _path(flow, x0, step, orders)[[skip, len(orders)]]
    size = (path - path.mean(-2, keepdim=True)).flatten(-2).norm(dim=-1).log()
    return (size[0] - size[1]) / (step * (len(orders) - skip))


@takes(
    length=whole(2),
    tau=positive(),
    stages=whole(1),
    runs=whole(1),
    generator=instance(torch.Generator),
)
def switching_rate(
    length: int, tau: float, stages: int, runs: int, generator: torch.Generator
) -> float:
    """Rate of uniform causal attention near consensus, a fresh order every tau units of time.

    Displacements of the tokens, one of D - 1 alike coordinates, by the matrix exponential of
    v_l' = sum_{j<l} (v_j - v_l) / l; the mean over `stages` stages, after ten that forget the
    start, and over `runs` runs.

    Args:
        length: L >= 2 tokens.
        tau: > 0, in units of time.
        stages, runs: >= 1. The error of the rate falls like 1 / (tau sqrt(stages runs)).
        generator: on the CPU.

    Raises:
        ValueError: an argument out of range.
    """
    for name, (value, least) in {
        "length": (length, 2),
        "stages": (stages, 1),
        "runs": (runs, 1),
    }.items():
        check_count(name, value, least)
    check_positive("tau", tau)
    places = torch.arange(1, length + 1, dtype=torch.float64)
    weights = torch.ones(length, length, dtype=torch.float64).tril(-1) / places[:, None]
    stage = torch.linalg.matrix_exp(tau * (weights - torch.diag(weights.sum(-1))))
    v = torch.randn(runs, length, generator=generator, dtype=torch.float64)
    total, forgotten = 0.0, 10
    for index, order in enumerate(fresh_orders(stages + forgotten, runs, length, generator)):
        v = torch.empty_like(v).scatter(-1, order, v.gather(-1, order) @ stage.mT)
        v = v - v.mean(-1, keepdim=True)
        size = v.norm(dim=-1, keepdim=True)
        v = v / size
        total -= float(size.log().mean()) if index >= forgotten else 0.0
    return total / (stages * tau)


@takes(length=whole(2), tau=positive())
def slow_switching_rate(length: int, tau: float) -> float:
    """:func:`switching_rate` for large tau: 1/2 - E ln|r - s| / tau, up to O(e^{-tau/6} / tau).

    r and s are two different places of L, uniform.

    Raises:
        ValueError: a length that is not a whole number >= 2, a tau that is not positive.
    """
    check_count("length", length, 2)
    check_positive("tau", tau)
    pairs = [(d, 2 * (length - d) / (length * (length - 1))) for d in range(1, length)]
    return 0.5 - sum(weight * math.log(d) for d, weight in pairs) / tau


# Where a pass ends.


@takes(depths=each(whole(1)), passes=whole(2), length=whole(2), generator=instance(torch.Generator))
def ends_by_depth(
    depths: Sequence[int], passes: int, length: int, generator: torch.Generator
) -> dict[str, list[float]]:
    """Passes of eq (11) from one random start to t = 16, in as many layers as `depths` says.

    S_BC = I, alpha = 0, a = 1/2 and D = 3; tokens start well inside the positive orthant. The rate
    in one order is ln 2 / sqrt 2, about 1/2, so that by t = 16 they have met.

    Args:
        depths: numbers of layers, one or more.
        passes: >= 2, of which each has orders of its own.
        length: L >= 2 tokens.
        generator: on the CPU.

    Returns:
        "layer": by depth, the root mean square distance over passes of the mean token at the end
        from its mean, with an order for each layer. With one order a pass and the first depth,
        one number each: "pass", the same; "first", the largest distance of a token at the end from
        the first one read.

    Raises:
        ValueError: an argument out of range.
    """
    check_count("passes", passes, 2)
    check_count("length", length, 2)
    if not len(depths):
        raise ValueError("depths: got none, takes one or more")
    flow = SharedStepFlow(
        torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0.5
    )
    start = random_tokens(1, length, 3, generator=generator).abs() + 0.3
    x0 = (start / start.norm(dim=-1, keepdim=True)).expand(passes, -1, -1)
    found: dict[str, list[float]] = {"layer": []}
    for layers in depths:
        orders = fresh_orders(layers, passes, length, generator)
        path = reordered_layers(flow, x0, 16 / layers, orders)
        found["layer"].append(_spread(path[-1]))
        if "pass" not in found:
            path = reordered_layers(flow, x0, 16 / layers, one_order(orders))
            first = x0.gather(1, orders[0, :, :1, None].expand(-1, -1, 3))
            found["pass"] = [_spread(path[-1])]
            found["first"] = [float((path[-1] - first).norm(dim=-1).max())]
    return found


def _spread(end: Tensor) -> float:
    mean = end.mean(-2)
    return float((mean - mean.mean(0)).square().sum(-1).mean().sqrt())


@takes(gaps=tensor("K", alike=False, K=2))
def two_token_spread(gaps: Tensor) -> float:
    """Deviation over passes of the angle at which two tokens meet, over that of one order a pass.

    Where layer k closes their angle by theta_k, (sum theta_k^2)^{1/2} / sum theta_k: one end of
    the arc moves by sum eps_k theta_k with fair eps_k in {0, 1}, independent or all alike.

    Args:
        gaps: (layers + 1,), the angle before the first and after each layer, the same for all
            orders; it falls.

    Raises:
        ValueError: fewer than two angles, or an angle that grows.
    """
    if gaps.ndim != 1 or len(gaps) < 2:
        raise ValueError(f"gaps: shape {tuple(gaps.shape)}, takes (layers + 1,)")
    steps = -gaps.diff()
    if not ((steps >= 0).all() and steps.any()):
        raise ValueError("gaps: takes angles that fall from layer to layer")
    return float(steps.norm() / steps.sum())


# Arguments.


def _check_passes(x0: Tensor) -> None:
    check_tokens(x0, None, 3, "x0")
    if x0.ndim != 3:
        raise ValueError(f"x0: shape {tuple(x0.shape)}, takes (passes, L, D)")
