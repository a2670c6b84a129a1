"""The fields of eqs (6)-(13) on the product of spheres."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from . import cpu
from .causal_sum import causal_sum, masked_attention
from .checks import check_rates, check_S_BC, check_square, check_tensor, check_tokens

Parameter = Tensor | Callable[[Tensor | float], Tensor]
Factors = tuple[Tensor, Tensor]


class Parameters(NamedTuple):
    """What a field is at one time: all channels share a step if G = 1, else G = D."""

    S_BC: Tensor | Factors
    S_Delta: Tensor  # (..., D, G)
    a: Tensor | None  # (..., G); None: the tokens do not see each other


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


class OnSphere(ABC):
    """A field given by its layer: dx/dt = P_x(layer(x, t)). A subclass needs no more than that."""

    def __call__(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return project(x, self.layer(x, t))

    @abstractmethod
    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """The layer's output y_l = sum_j A_lj x_j, (..., L, D)."""

    def unchecked(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """As a call, without a look at x: for integrators, which call it often.

        x: (..., L, D), float64, unit rows; of anything else it may make wrong numbers in silence.
        Parameters that are functions of t are checked all the same.
        """
        return self(x, t)

    def numpy_field(self, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray] | None:
        """The field compiled, for contiguous float64 arrays x of one shape, (..., L, D).

        Returns:
            x -> dx/dt at x/|x|, row by row, in a new array: nothing of x is checked. Parameters
            are those of now. None where there is no such function: parameters depend on t, need
            gradients, are not on the CPU or have a batch that x lacks, or numba is not installed.
        """
        return None


class Parametric(OnSphere):
    """A field of S_BC, S_Delta and a."""

    ROWS: ClassVar[int] = 2
    """Dimensions of x that are no batch: (L, D)."""

    def __call__(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        parameters = self.parameters(t)
        check_tokens(x, parameters.S_Delta.shape[-2], self.ROWS)
        return self._field(x, parameters)

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """y_l = sum_{j<=l} A_lj x_j: the S6 layer's output, (..., L, D)."""
        parameters = self.parameters(t)
        check_tokens(x, parameters.S_Delta.shape[-2], self.ROWS)
        return self._layer(x, parameters)

    def unchecked(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return self._field(x, self.parameters(t))

    def numpy_field(self, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray] | None:
        if any(callable(getattr(self, each.name)) for each in fields(self)):
            return None
        parameters = self.parameters(0.0)
        dim = parameters.S_Delta.shape[-2]
        if len(shape) < self.ROWS or shape[-1] != dim or 0 in shape:
            raise ValueError(f"shape: got {tuple(shape)}, takes (..., L, D) with D = {dim}")
        return cpu.numpy_field(*parameters, tuple(shape))

    @abstractmethod
    def parameters(self, t: Tensor | float) -> Parameters:
        """Those at t, checked where they depend on it."""

    def _field(self, x: Tensor, parameters: Parameters) -> Tensor:
        found = cpu.fused(x, *parameters, projected=True)
        return project(x, self._sums(x, parameters)) if found is None else found

    def _layer(self, x: Tensor, parameters: Parameters) -> Tensor:
        found = cpu.fused(x, *parameters, projected=False)
        return self._sums(x, parameters) if found is None else found

    def _sums(self, x: Tensor, parameters: Parameters) -> Tensor:
        """The layer in torch: the reference of the compiled pass, and what gradients go through."""
        queries, keys, steps, a = _parts(x, parameters)
        return causal_sum(queries, keys, a * steps, steps * x)

    def _attention(self, x: Tensor, t: Tensor | float) -> Tensor:
        parameters = self.parameters(t)
        check_tokens(x, parameters.S_Delta.shape[-2], self.ROWS)
        queries, keys, steps, a = _parts(x, parameters)
        return masked_attention(queries, keys, a * steps, steps)


@dataclass(frozen=True, eq=False)
class MambaFlow(Parametric):
    """The deep Mamba flow, eqs (6)-(8): dx_l/dt = P_{x_l}(sum_{j<=l} A_lj(x) x_j) with

        A_{d,lj} = <x_l, S_BC x_j> Delta_d(x_j) exp(-a_d sum_{k=j+1}^{l} Delta_d(x_k)),
        Delta_d(u) = softplus(<S_{Delta,d}, u>).

    Args:
        S_BC: (..., D, D), or its factors ``(S_C, S_B)``, each (..., N, D), with
            S_BC = S_C^T S_B. Factors with N < D make the field cheaper.
        S_Delta: (..., D, D); **column** d is S_{Delta,d}.
        a: (..., D), positive.

    Any parameter may instead be a function of t that returns such a tensor (Remark 2.1).

    On a CPU, where no gradient is asked for and numba is installed, a call is one compiled pass:
    O(L D (N + D)) time, and no memory that grows with L but its result. Elsewhere it costs
    O(L (CHUNK (N + D) + N D)) time and O(L (CHUNK + D + N D / CHUNK)) memory.

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
            dims.add(check_S_BC(self.S_BC))
        if not callable(self.S_Delta):
            dims.add(check_square("S_Delta", self.S_Delta))
        if not callable(self.a):
            dims.add(check_rates("a", self.a))
        if len(dims) > 1:
            raise ValueError(f"S_BC, S_Delta and a: D differs between them, {sorted(dims)}")

    def attention(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """A_{d,lj} of eq (8), (..., D, L, L): query l, key j, zero for j > l."""
        return self._attention(x, t)

    def parameters(self, t: Tensor | float) -> Parameters:
        S_BC, S_Delta, a = _at(self.S_BC, t), _at(self.S_Delta, t), _at(self.a, t)
        if callable(self.S_BC):
            check_S_BC(S_BC)
        if callable(self.S_Delta):
            check_square("S_Delta", S_Delta)
        if callable(self.a):
            check_rates("a", a)
        return Parameters(S_BC, S_Delta, a)


@dataclass(frozen=True, eq=False)
class FirstTokenFlow(Parametric):
    """The first token alone, eq (9): dx/dt = <x, S_BC x> P_x(Delta(x) * x), Delta as above.

    It is the first row of :class:`MambaFlow`; `a` plays no part. Every row of x is a first token
    of its own, so x is (..., D); with batched parameters (..., D, D), x is (..., rows, D).

    Args: S_BC and S_Delta as for :class:`MambaFlow`.
    Raises: ValueError, as :class:`MambaFlow`.
    """

    S_BC: Parameter | Factors | Callable[[Tensor | float], Factors]
    S_Delta: Parameter

    ROWS: ClassVar[int] = 1  # every row of x is a sequence of its own

    def __post_init__(self) -> None:
        if not callable(self.S_BC) and not callable(self.S_Delta):
            dims = {check_S_BC(self.S_BC), check_square("S_Delta", self.S_Delta)}
            if len(dims) > 1:
                raise ValueError(f"S_BC and S_Delta: D differs between them, {sorted(dims)}")

    def parameters(self, t: Tensor | float) -> Parameters:
        S_BC, S_Delta = _at(self.S_BC, t), _at(self.S_Delta, t)
        if callable(self.S_BC) or callable(self.S_Delta):
            check_S_BC(S_BC)
            check_square("S_Delta", S_Delta)
        return Parameters(S_BC, S_Delta, None)

    def _sums(self, x: Tensor, parameters: Parameters) -> Tensor:
        queries, keys = _queries_keys(parameters.S_BC, x)
        return (queries * keys).sum(-1, keepdim=True) * _steps(x, parameters.S_Delta) * x


@dataclass(frozen=True, eq=False)
class SharedStepFlow(Parametric):
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
        check_tensor("alpha", self.alpha, 1)
        if not callable(self.S_BC) and check_S_BC(self.S_BC) != self.alpha.shape[-1]:
            raise ValueError(f"alpha: shape {tuple(self.alpha.shape)} does not go with S_BC's D")
        check_rates("a", torch.as_tensor(self.a, dtype=torch.float64).unsqueeze(-1))

    def attention(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """A_lj, (..., L, L): query l, key j, zero for j > l."""
        return self._attention(x, t).squeeze(-3)

    def parameters(self, t: Tensor | float) -> Parameters:
        S_BC = _at(self.S_BC, t)
        if callable(self.S_BC):
            check_S_BC(S_BC)
        a = torch.as_tensor(self.a, dtype=torch.float64, device=self.alpha.device)
        return Parameters(S_BC, self.alpha.unsqueeze(-1), a.unsqueeze(-1))


@dataclass(frozen=True, eq=False)
class AutoregressiveFlow(OnSphere):
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
        check_tokens(x, x.shape[-1], 2)
        return self._attention(x)

    def unchecked(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return project(x, self._attention(x) @ x)

    def _attention(self, x: Tensor) -> Tensor:
        weights = self.coefficients(x)
        check_tensor("coefficients(x)", weights, 2)
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
    check_tensor("Q", Q, 2)
    check_tensor("K", K, 2)
    if Q.shape[-2:] != K.shape[-2:]:
        raise ValueError(f"Q and K: shapes {tuple(Q.shape)} and {tuple(K.shape)} differ")

    def coefficients(x: Tensor) -> Tensor:
        scores = (x @ Q.mT) @ (x @ K.mT).mT
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(later, -math.inf).softmax(-1)

    return coefficients


def _parts(x: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    steps = _steps(x, parameters.S_Delta)
    return *_queries_keys(parameters.S_BC, x), steps, parameters.a.unsqueeze(-2)


def _steps(x: Tensor, S_Delta: Tensor) -> Tensor:
    # torch's softplus is its argument from 20 on, where it is off by 1e-10 of it; from 40 by none.
    return softplus(x @ S_Delta, threshold=40.0)


def _queries_keys(S_BC: Tensor | Factors, x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows q_l, k_j with <q_l, k_j> = <x_l, S_BC x_j>."""
    if isinstance(S_BC, tuple):
        S_C, S_B = S_BC
        return x @ S_C.mT, x @ S_B.mT
    return x, x @ S_BC.mT


def _at(parameter, t: Tensor | float):
    return parameter(t) if callable(parameter) else parameter
