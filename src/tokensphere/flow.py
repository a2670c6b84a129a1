"""Token dynamics on the sphere: the fields of eqs (6)-(13), and their integration.

A *field* maps tokens ``x``, (..., L, D) with unit rows, and a time to dx/dt. Every field here is
``project(x, layer(x, t))``: the layer's output y_l = sum_j A_lj x_j with its part along x_l taken
away. Leading dimensions are a batch; parameters may have leading dimensions too, broadcast against
the batch, so that thousands of parameter draws run as one. Everything is float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torchdiffeq import odeint

__all__ = [
    "AutoregressiveFlow",
    "FirstTokenFlow",
    "MambaFlow",
    "SharedStepFlow",
    "Trajectory",
    "causal_attention",
    "layers",
    "project",
    "random_tokens",
    "simulate",
    "simulate_residual_stream",
]

Parameter = Tensor | Callable[[Tensor | float], Tensor]
Factors = tuple[Tensor, Tensor]
Field = Callable[[Tensor, Tensor | float], Tensor]

CHUNK = 64
"""Tokens that the causal sum takes at once: a token costs CHUNK (N + D) + 2 N D multiply-adds."""

EXPONENT = 300.0
"""Largest exponent within a chunk. exp(300) times its gradient's exp(300) is still in float64."""

UNIT_TOLERANCE = 1e-6
"""How far from 1 a token's norm may be. Looser than rounding, tighter than a mistake."""


def project(x: Tensor, y: Tensor) -> Tensor:
    """P_x(y) = y - <y, x> x, row by row: y without its part along the unit rows x, (..., D)."""
    return y - (y * x).sum(-1, keepdim=True) * x


def random_tokens(
    *shape: int, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
) -> Tensor:
    """Tokens uniform on the sphere, float64, of the given shape; the last entry is D.

    The generator lives on the CPU so that a seed gives the same tokens on every device.
    """
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (x / x.norm(dim=-1, keepdim=True)).to(device)


class _OnSphere:
    """A field given by its layer: dx/dt = P_x(layer(x, t))."""

    def __call__(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return project(x, self.layer(x, t))

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        raise NotImplementedError  # each field defines it


@dataclass(frozen=True, eq=False)
class MambaFlow(_OnSphere):
    """The deep Mamba flow, eqs (6)-(8): dx_l/dt = P_{x_l}(sum_{j<=l} A_lj(x) x_j) with

        A_{d,lj} = <x_l, S_BC x_j> Delta_d(x_j) exp(-a_d sum_{k=j+1}^{l} Delta_d(x_k)),
        Delta_d(u) = softplus(<S_{Delta,d}, u>).

    Args:
        S_BC: (..., D, D), or its factors ``(S_C, S_B)``, each (..., N, D), with
            S_BC = S_C^T S_B. Factors with N < D make the field cheaper.
        S_Delta: (..., D, D); **column** d is S_{Delta,d}.
        a: (..., D), positive.

    Any parameter may instead be a function of t that returns such a tensor (Remark 2.1).

    Calling the field costs O(L (CHUNK (N + D) + N D)) time and O(L (CHUNK + D + N D / CHUNK))
    memory.

    Raises:
        ValueError: a wrong shape, dtype, sign or non-finite value; the message names the argument.
            Constant parameters are checked at once, functions of t at each call.
    """

    S_BC: Parameter | Factors | Callable[[Tensor | float], Factors]
    S_Delta: Parameter
    a: Parameter

    def __post_init__(self) -> None:
        dims = set()
        if not callable(self.S_BC):
            dims.add(_check_S_BC(self.S_BC))
        if not callable(self.S_Delta):
            dims.add(_check_square("S_Delta", self.S_Delta))
        if not callable(self.a):
            dims.add(_check_rates("a", self.a))
        if len(dims) > 1:
            raise ValueError(f"S_BC, S_Delta and a: D differs between them, {sorted(dims)}")

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """y_l = sum_{j<=l} A_lj x_j, eqs (4) and (8): the S6 layer's output, (..., L, D)."""
        queries, keys, steps, a = self._parts(x, t)
        return _causal_sum(queries, keys, a * steps, steps * x)

    def attention(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """A_{d,lj} of eq (8), (..., D, L, L): query l, key j, zero for j > l."""
        queries, keys, steps, a = self._parts(x, t)
        return _attention(queries, keys, a * steps, steps)

    def _parts(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        S_BC, S_Delta, a = _at(self.S_BC, t), _at(self.S_Delta, t), _at(self.a, t)
        if callable(self.S_BC):
            _check_S_BC(S_BC)
        if callable(self.S_Delta):
            _check_square("S_Delta", S_Delta)
        if callable(self.a):
            _check_rates("a", a)
        _check_tokens(x, S_Delta.shape[-1], 2)
        return *_queries_keys(S_BC, x), softplus(x @ S_Delta), a.unsqueeze(-2)


@dataclass(frozen=True, eq=False)
class FirstTokenFlow(_OnSphere):
    """The first token alone, eq (9): dx/dt = <x, S_BC x> P_x(Delta(x) * x), Delta as above.

    It is the first row of :class:`MambaFlow`; `a` plays no part. Every row of x is a first token
    of its own, so x is (..., D); with batched parameters (..., D, D), x is (..., rows, D).

    Args: S_BC and S_Delta as for :class:`MambaFlow`.
    Raises: ValueError, as :class:`MambaFlow`.
    """

    S_BC: Parameter | Factors | Callable[[Tensor | float], Factors]
    S_Delta: Parameter

    def __post_init__(self) -> None:
        if not callable(self.S_BC) and not callable(self.S_Delta):
            dims = {_check_S_BC(self.S_BC), _check_square("S_Delta", self.S_Delta)}
            if len(dims) > 1:
                raise ValueError(f"S_BC and S_Delta: D differs between them, {sorted(dims)}")

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """<x, S_BC x> Delta(x) * x, (..., D)."""
        S_BC, S_Delta = _at(self.S_BC, t), _at(self.S_Delta, t)
        _check_S_BC(S_BC)
        _check_tokens(x, _check_square("S_Delta", S_Delta), 1)
        queries, keys = _queries_keys(S_BC, x)
        return (queries * keys).sum(-1, keepdim=True) * softplus(x @ S_Delta) * x


@dataclass(frozen=True, eq=False)
class SharedStepFlow(_OnSphere):
    """All channels share one step and one decay, eq (11): the coefficients A_lj are scalars,

        A_lj = <x_l, S_BC x_j> Delta(x_j) exp(-a sum_{k=j+1}^{l} Delta(x_k)),
        Delta(u) = softplus(<alpha, u>).

    The paper's eq (12) prints Delta(x_l) in front; eq (8) under assumption (10) gives Delta(x_j).
    The first token stands still.

    Args:
        S_BC: as for :class:`MambaFlow`.
        alpha: (..., D).
        a: a positive number, or a tensor (...) of them.
    Raises: ValueError, as :class:`MambaFlow`.
    """

    S_BC: Parameter | Factors
    alpha: Tensor
    a: float | Tensor

    def __post_init__(self) -> None:
        _check_tensor("alpha", self.alpha, 1)
        if not callable(self.S_BC) and _check_S_BC(self.S_BC) != self.alpha.shape[-1]:
            raise ValueError(f"alpha: shape {tuple(self.alpha.shape)} does not go with S_BC's D")
        _check_rates("a", torch.as_tensor(self.a, dtype=torch.float64).unsqueeze(-1))

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """sum_{j<=l} A_lj x_j, (..., L, D). P_x removes the term j = l that eq (11) leaves out."""
        queries, keys, steps, rates = self._parts(x, t)
        return _causal_sum(queries, keys, rates, steps * x)

    def attention(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """A_lj, (..., L, L): query l, key j, zero for j > l."""
        queries, keys, steps, rates = self._parts(x, t)
        return _attention(queries, keys, rates, steps).squeeze(-3)

    def _parts(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        _check_tokens(x, self.alpha.shape[-1], 2)
        S_BC = _at(self.S_BC, t)
        if callable(self.S_BC):
            _check_S_BC(S_BC)
        a = torch.as_tensor(self.a, dtype=torch.float64, device=x.device)[..., None, None]
        steps = softplus(x @ self.alpha.unsqueeze(-1))
        return *_queries_keys(S_BC, x), steps, a * steps


@dataclass(frozen=True, eq=False)
class AutoregressiveFlow(_OnSphere):
    """Any causal model with scalar weights, eq (13): dx_l/dt = sum_{j<=l} a_lj(x) P_{x_l}(x_j).

    Args:
        coefficients: maps tokens (..., L, D) to weights (..., L, L). Only j <= l is read; the
            diagonal has no effect on the field. The paper's theorems ask for positive weights;
            the field takes any.
    """

    coefficients: Callable[[Tensor], Tensor]

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """sum_{j<=l} a_lj(x) x_j, (..., L, D)."""
        return self.attention(x, t) @ x

    def attention(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """a_lj(x), (..., L, L): query l, key j, zero for j > l.

        Raises: ValueError for weights of a wrong shape or not finite, or tokens off the sphere.
        """
        _check_tokens(x, x.shape[-1], 2)
        weights = self.coefficients(x)
        _check_tensor("coefficients(x)", weights, 2)
        if weights.shape[-2:] != (x.shape[-2], x.shape[-2]):
            raise ValueError(
                f"coefficients(x): shape {tuple(weights.shape)}, "
                f"takes (..., {x.shape[-2]}, {x.shape[-2]})"
            )
        return weights.tril()


def causal_attention(Q: Tensor, K: Tensor) -> Callable[[Tensor], Tensor]:
    """The weights of causal softmax attention, for :class:`AutoregressiveFlow` (Remark 3.8).

    Args:
        Q, K: query and key matrices, (..., M, D).
    Returns:
        x -> softmax over j <= l of <Q x_l, K x_j>, (..., L, L). The value matrix is the identity.
    Raises:
        ValueError: Q and K of different shapes, a wrong dtype or a non-finite value.
    """
    _check_tensor("Q", Q, 2)
    _check_tensor("K", K, 2)
    if Q.shape[-2:] != K.shape[-2:]:
        raise ValueError(f"Q and K: shapes {tuple(Q.shape)} and {tuple(K.shape)} differ")

    def coefficients(x: Tensor) -> Tensor:
        scores = (x @ Q.mT) @ (x @ K.mT).mT
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(later, -math.inf).softmax(-1)

    return coefficients


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Tokens at given times: ``times`` (T,), ``tokens`` (T, ..., L, D)."""

    times: Tensor
    tokens: Tensor


def simulate(
    field: Field, x0: Tensor, times: Tensor, rtol: float = 1e-9, atol: float = 1e-12
) -> Trajectory:
    """Integrates dx/dt = field(x, t) on the product of spheres.

    Adaptive Dormand-Prince 5(4) by torchdiffeq. The field is evaluated at x/|x|, where it is
    tangent, so norms drift by no more than the tolerance; the result is normalised. Without this
    the sphere repels in the ambient space wherever <x, S_BC x> < 0. The error is controlled in the
    maximum norm over all tokens: accuracy does not depend on how many sequences share the call.

    Args:
        field: one of this module's fields, or any function (x, t) -> dx/dt, tangent at unit x.
        x0: (..., L, D), unit rows, float64.
        times: (T,), strictly increasing; the first is that of x0. Any scale; dimensionless.
        rtol, atol: relative and absolute tolerance of a step.

    Raises:
        ValueError: bad x0, times or tolerances.
        RuntimeError: the step size fell below what float64 resolves, or the field is not finite.
    """
    _check_tokens(x0, None, 1, name="x0")
    tokens = _integrate(lambda x, t: field(_unit(x), t), x0, times, rtol, atol)
    return Trajectory(times, _unit(tokens))


def simulate_residual_stream(
    field: _OnSphere, z0: Tensor, times: Tensor, rtol: float = 1e-9, atol: float = 1e-12
) -> Trajectory:
    """Integrates dz/dt = layer(z/|z|, t): layers that normalise their input, as trained models do.

    The tokens of the result are the residual stream z, (T, ..., L, D), which is not normalised:
    its directions move by dx/dt = P_x(layer(x)) / |z|, each token with a clock of its own.

    Args: as for :func:`simulate`, but z0 may have any non-zero norms, and `field` must have a
        method ``layer``.
    Raises: as :func:`simulate`. The equation ends where a token reaches the origin. Steps that
        shrink towards it end in a RuntimeError, but a step may also jump across it, and nothing
        tells: where <x, layer(x)> < 0 along the way, look at the norms.
    """
    _check_tensor("z0", z0, 1)
    if (z0.norm(dim=-1) == 0).any():
        raise ValueError("z0: holds a token at the origin, which has no direction")
    return Trajectory(
        times, _integrate(lambda z, t: field.layer(_unit(z), t), z0, times, rtol, atol)
    )


def layers(
    field: _OnSphere, x0: Tensor, times: Tensor, normalise: str = "after", every: int = 1
) -> Trajectory:
    """A deep model: one residual layer for each interval of `times`, its branch scaled by the
    interval's length h.

        after:   x <- unit(x + h layer(x, t))       tokens stay on the sphere (the paper's system)
        before:  z <- z + h layer(unit(z), t)       the residual stream (what trained models do)

    Args:
        field: gives ``layer`` and, at depth t, its parameters.
        x0: (..., L, D), unit rows.
        times: (depth + 1,), strictly increasing.
        normalise: "after" or "before".
        every: keep every so many layers (and the input); must divide the depth.

    Returns:
        Trajectory with tokens (depth // every + 1, ..., L, D).
    Raises:
        ValueError: bad x0, times, `normalise` or `every`.
    """
    _check_tokens(x0, None, 1, name="x0")
    _check_times(times)
    if normalise not in ("after", "before"):
        raise ValueError(f"normalise: got {normalise!r}, takes 'after' or 'before'")
    if every < 1 or (len(times) - 1) % every:
        raise ValueError(f"every: got {every}, takes a divisor of the depth {len(times) - 1}")
    x, kept = x0, [x0]
    for index in range(len(times) - 1):
        step = field.layer(_unit(x), times[index]) * (times[index + 1] - times[index])
        x = _unit(x + step) if normalise == "after" else x + step
        if (index + 1) % every == 0:
            kept.append(x)
    return Trajectory(times[::every], torch.stack(kept))


def _integrate(function: Field, x0: Tensor, times: Tensor, rtol: float, atol: float) -> Tensor:
    _check_times(times)
    for name, value in {"rtol": rtol, "atol": atol}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}: got {value}, takes a number between 0 and 1")

    def finite(t: Tensor, x: Tensor) -> Tensor:
        derivative = function(x, t)
        if not torch.isfinite(derivative).all():
            raise RuntimeError(f"the field is not finite at t = {float(t):g}")
        return derivative

    try:
        return odeint(
            finite,
            x0,
            times.to(x0.device),
            rtol=rtol,
            atol=atol,
            method="dopri5",
            options={"norm": lambda error: error.abs().max()},
        )
    except AssertionError as error:  # torchdiffeq's word for a step that underflows
        raise RuntimeError(f"the integration stopped: {error}") from None


def _causal_sum(queries: Tensor, keys: Tensor, rates: Tensor, values: Tensor) -> Tensor:
    """sum_{j<=l} <q_l, k_j> exp(-sum_{k=j+1}^{l} rates_k) v_j, in time linear in L.

    queries, keys: (..., L, N); rates: (..., L, G), not negative, with G = D, or 1 when channels
    share them; values: (..., L, D). Tokens are taken in chunks, between which one state (..., N, D)
    carries on. Within a chunk the decay from j to l is split as exp(-c_l) exp(c_j), c the sum of
    rates since the chunk's first token: what is left is one masked product of matrices for all
    channels, and no exponential for each pair. The split costs no accuracy as long as exp(c) does
    not overflow, so chunks are halved until it cannot.
    """
    length = values.shape[-2]
    size = min(CHUNK, length)
    while True:
        elapsed = _fold(rates, size).cumsum(-2)
        since = elapsed - elapsed[..., :1, :]
        if size == 1 or float(since.detach().amax()) <= EXPONENT:
            break
        size = (size + 1) // 2
    q, k, v = _fold(queries, size), _fold(keys, size), _fold(values, size)
    output = torch.exp(-since) * ((q @ k.mT).tril() @ (torch.exp(since) * v))
    if output.shape[-3] > 1:
        total = elapsed[..., -1:, :]
        updates = (k.mT @ (torch.exp(elapsed - total) * v)).unbind(-3)
        decays = torch.exp(-total).unbind(-3)
        states = [torch.zeros_like(updates[0]), updates[0]]
        for update, decay in zip(updates[1:-1], decays[1:-1], strict=True):
            states.append(decay * states[-1] + update)
        output = output + torch.exp(-elapsed) * (q @ torch.stack(states, dim=-3))
    return output.flatten(-3, -2)[..., :length, :]


def _fold(rows: Tensor, size: int) -> Tensor:
    """(..., L, K) as chunks of `size` rows, (..., chunks, size, K); zeros fill the last one."""
    missing = -rows.shape[-2] % size
    if missing:
        rows = torch.nn.functional.pad(rows, (0, 0, 0, missing))
    return rows.unflatten(-2, (-1, size))


def _masked_decay(elapsed: Tensor) -> Tensor:
    """exp(-(elapsed_l - elapsed_j)) for j <= l, else 0: (..., G, L, L) from (..., L, G)."""
    elapsed = elapsed.mT
    exponent = elapsed.unsqueeze(-2) - elapsed.unsqueeze(-1)
    later = torch.ones(exponent.shape[-2:], dtype=torch.bool, device=elapsed.device).triu(1)
    # Masked before the exponential: for j > l the exponent is positive and could overflow.
    return exponent.masked_fill(later, -math.inf).exp()


def _attention(queries: Tensor, keys: Tensor, rates: Tensor, steps: Tensor) -> Tensor:
    scores = (queries @ keys.mT).unsqueeze(-3) * steps.mT.unsqueeze(-2)
    return scores * _masked_decay(rates.cumsum(-2))


def _queries_keys(S_BC: Tensor | Factors, x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows q_l, k_j with <q_l, k_j> = <x_l, S_BC x_j>."""
    if isinstance(S_BC, tuple):
        S_C, S_B = S_BC
        return x @ S_C.mT, x @ S_B.mT
    return x, x @ S_BC.mT


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _at(parameter, t: Tensor | float):
    return parameter(t) if callable(parameter) else parameter


def _check_tensor(name: str, value, ndim: int) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if value.dtype != torch.float64:
        raise ValueError(f"{name}: dtype {value.dtype}, takes torch.float64")
    if value.ndim < ndim or 0 in value.shape:
        raise ValueError(f"{name}: shape {tuple(value.shape)}, takes {ndim} or more dimensions > 0")
    if not torch.isfinite(value).all():
        raise ValueError(f"{name}: holds NaN or infinity")


def _check_square(name: str, value) -> int:
    _check_tensor(name, value, 2)
    if value.shape[-1] != value.shape[-2]:
        raise ValueError(f"{name}: shape {tuple(value.shape)}, takes (..., D, D)")
    return value.shape[-1]


def _check_S_BC(value) -> int:
    if not isinstance(value, tuple):
        return _check_square("S_BC", value)
    if len(value) != 2:
        raise ValueError(f"S_BC: got {len(value)} factors, takes two, (S_C, S_B)")
    for name, factor in zip(("S_C", "S_B"), value, strict=True):
        _check_tensor(name, factor, 2)
    if value[0].shape[-2:] != value[1].shape[-2:]:
        shapes = tuple(value[0].shape), tuple(value[1].shape)
        raise ValueError(f"S_C and S_B: shapes {shapes[0]} and {shapes[1]}, take one (..., N, D)")
    return value[0].shape[-1]


def _check_rates(name: str, value) -> int:
    _check_tensor(name, value, 1)
    if (value <= 0).any():
        raise ValueError(f"{name}: holds {float(value.min()):g}, takes positive numbers")
    return value.shape[-1]


def _check_tokens(x, dim: int | None, ndim: int, name: str = "x") -> None:
    _check_tensor(name, x, ndim)
    if dim is not None and x.shape[-1] != dim:
        raise ValueError(f"{name}: shape {tuple(x.shape)}, takes (..., L, D) with D = {dim}")
    off = (x.detach().norm(dim=-1) - 1).abs().max()
    if off > UNIT_TOLERANCE:
        raise ValueError(f"{name}: a token is off the unit sphere, its norm by {float(off):.1e}")


def _check_times(times) -> None:
    _check_tensor("times", times, 1)
    if times.ndim != 1 or len(times) < 2 or (times.diff() <= 0).any():
        raise ValueError("times: takes a vector (T,) of two or more strictly increasing times")
