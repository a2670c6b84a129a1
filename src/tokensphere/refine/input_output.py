"""Tied input and output maps, ``S_B = diag(d) S_C`` with the signs of d held, as a parametrisation.

Whatever the weights learn, the symmetric part of ``S_C^T S_B = S_C^T diag(d) S_C`` then is positive
or negative semidefinite, or has the signature of d; and the layer is passive (or its negative), as
`tokensphere.refine.passivity` says, for any decay rates, steps, convolution and gate.

In the public code of Vo et al. (github.com/Fsoft-AIC/Mamba-token-dynamic, its language models),
S_C is unit upper trapezoidal, d = +-(softplus(a free number) + 0.7) for one sign, and for mixed
signs +- softplus without 0.7, the first half of the states positive. Two things come with the sign
there: state n reads channel n with weight one, and products of B and C start at another size than
without the constraint, another again for mixed signs. The form "rows" brings neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils import parametrize

from tokensphere.refine.mixers import find_mixers, sizes

__all__ = ["InputOutput", "constrain", "constrained", "release"]

SIGNS = ("positive", "negative", "mixed", "free")
FORMS = ("rows", "trapezoid")
OFFSET = 0.7
"""Of the trapezoidal form with one sign, as in the public code."""
LEAST = 1e-4
"""Of |d| less the offset, at the start."""


@dataclass(frozen=True)
class InputOutput:
    """What is held of S_B and S_C.

    sign: of the diagonal d in ``S_B = diag(d) S_C``: "positive", "negative", "mixed" (the first
        `positive` of them positive, the others negative), or "free": tied, and d may take any sign;
        it starts as "positive" does.
    rank: N, the rank of the symmetric part of S_C^T S_B; None takes each mixer's number of states.
        Another number than that is refused.
    positive: how many of the d are positive where signs are mixed; None for N // 2.
    form: "rows": S_C is free and starts as the mixer's own, and d starts at the quotient of the
        rows' norms, which keeps the norm of every row of S_B and S_C; the rank is N but for a null
        set of S_C, and a constrained weight is taken up again as it was. "trapezoid", the public
        code's: S_C is unit upper trapezoidal from the rows of S_B above the diagonal, and d starts
        from the first column of S_C; the rank is always N, and the start forgets the weight.
    offset: the least |d|, >= 0; None for 0, and in the trapezoidal form 0.7 unless mixed.

    Raises ValueError for what is out of range.
    """

    sign: str
    rank: int | None = None
    positive: int | None = None
    form: str = "rows"
    offset: float | None = None

    def __post_init__(self) -> None:
        if self.sign not in SIGNS:
            raise ValueError(f"sign: got {self.sign!r}, takes one of {', '.join(SIGNS)}")
        if self.form not in FORMS:
            raise ValueError(f"form: got {self.form!r}, takes one of {', '.join(FORMS)}")
        if self.rank is not None and not _count(self.rank, 1):
            raise ValueError(f"rank: got {self.rank!r}, takes a number of states or None")
        if self.positive is not None:
            if self.sign != "mixed":
                raise ValueError(f"positive: for mixed signs only, got it with {self.sign!r}")
            if not _count(self.positive, 1):
                raise ValueError(f"positive: got {self.positive!r}, takes a number >= 1")
        if self.offset is not None and not 0 <= self.offset < math.inf:
            raise ValueError(f"offset: got {self.offset!r}, takes a finite number >= 0")

    @property
    def least(self) -> float:
        """The offset in use."""
        if self.offset is not None:
            return float(self.offset)
        return OFFSET if self.form == "trapezoid" and self.sign != "mixed" else 0.0


class Tied(nn.Module):
    """The weight of `x_proj`, (R + 2 N, D), from rows (R + N, D) and raw numbers (N,).

    The first R rows go through as they are, the others are S_C; d is a function of the raw numbers.
    """

    signs: Tensor

    def __init__(self, held: InputOutput, steps: int, states: int, like: Tensor):
        super().__init__()
        self.held, self.steps, self.states = held, steps, states
        count = states // 2 if held.positive is None else held.positive
        signs = {"negative": -1.0}.get(held.sign, 1.0) * torch.ones(states)
        if held.sign == "mixed":
            signs[count:] = -1.0
        # A constant: it moves with the model, and no state dict has it.
        self.register_buffer("signs", signs.to(like), persistent=False)

    def diagonal(self, raw: Tensor) -> Tensor:
        """d, (N,)."""
        if self.held.sign == "free":
            return raw
        return self.signs * (softplus(raw) + self.held.least)

    def forward(self, rows: Tensor, raw: Tensor) -> Tensor:
        steps, S_C = rows.split([self.steps, self.states])
        if self.held.form == "trapezoid":
            unit = torch.eye(*S_C.shape, dtype=S_C.dtype, device=S_C.device)
            S_C = S_C.triu(1) + unit
        # Autocast may have widened d.
        d = self.diagonal(raw).to(S_C.dtype)
        return torch.cat([steps, d[:, None] * S_C, S_C])

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Where training starts from, given the mixer's own weight."""
        steps, S_B, S_C = weight.split([self.steps, self.states, self.states])
        if self.held.form == "trapezoid":
            raw = S_C[:, 0].clone()
            if self.held.sign == "free":
                raw = softplus(raw) + self.held.least
            return torch.cat([steps, S_B]), raw
        size = (S_B.norm(dim=1) / S_C.norm(dim=1)).double()
        if self.held.sign == "free":
            return torch.cat([steps, S_C]), size.to(weight)
        above = (size - self.held.least).clamp(min=LEAST)
        # The inverse of softplus; log(exp(x) - 1) itself overflows.
        raw = above + torch.log(-torch.expm1(-above))
        return torch.cat([steps, S_C]), raw.to(weight)


def constrain(model: nn.Module, held: InputOutput) -> list[str]:
    """Hold S_B and S_C of every mixer of a model, in place; returns the mixers' names.

    Then compile, distribute, make the optimiser: `x_proj.weight` becomes a function of two new
    parameters, the rows `x_proj.parametrizations.weight.original0` and the raw numbers
    `original1`; state dicts have these names, so constrain a model before loading one, and release
    it before transformers' save_pretrained, which would write names that from_pretrained does not
    know. The signs hold in any dtype; that S_B is diag(d) S_C holds up to the rounding of the dtype
    in use.

    In Jamba B and C are normalised with weights of their own, which are not held: the signs are
    those of d times the products of the weights, and `projections` has them multiplied in.

    Raises ValueError for a model without a supported mixer, or with one that is not supported
    (named), constrained already, with states other than `rank`, with no more channels than states
    or not more states than `positive`, with a map that has a bias, is not a torch.nn.Linear or is
    not in memory, and for rows of zeros in the form "rows". The model is then as it was.
    """
    if not isinstance(held, InputOutput):
        raise ValueError(f"held: got {type(held).__name__}, takes an InputOutput")
    mixers = find_mixers(model)
    for name, mixer in mixers.items():
        _check(name, mixer, held)
    for mixer in mixers.values():
        steps, states = sizes(mixer)
        weight = mixer.x_proj.weight
        parametrize.register_parametrization(
            mixer.x_proj, "weight", Tied(held, steps, states, weight.detach())
        )
    return list(mixers)


def release(model: nn.Module) -> list[str]:
    """Undo `constrain`, in place: the weights stay at their constrained values, and are free again.

    `x_proj.weight` is a parameter of its own again, a new one: make the optimiser anew. Returns the
    names of the mixers released; raises ValueError where none was constrained.
    """
    found = [name for name, mixer in find_mixers(model).items() if constrained(mixer)]
    if not found:
        raise ValueError(f"model: no mixer of this {type(model).__name__} is constrained")
    for name in found:
        linear = model.get_submodule(name).x_proj
        trains = linear.parametrizations.weight.original0.requires_grad
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
        linear.weight.requires_grad_(trains)
    return found


def constrained(mixer: Any) -> bool:
    """Whether `constrain` holds this mixer."""
    linear = mixer.x_proj
    return parametrize.is_parametrized(linear, "weight") and any(
        isinstance(part, Tied) for part in linear.parametrizations.weight
    )


def _check(name: str, mixer: Any, held: InputOutput) -> None:
    linear, (steps, states) = mixer.x_proj, sizes(mixer)
    where = f"model: {name}.x_proj"
    if parametrize.is_parametrized(linear):
        raise ValueError(f"{where} is parametrised already, by `constrain` or by others")
    if type(linear) is not nn.Linear:
        raise ValueError(f"{where} is a {type(linear).__name__}, takes a torch.nn.Linear")
    if linear.bias is not None:
        raise ValueError(f"{where} has a bias, which would untie B and C")
    weight = linear.weight
    if weight.is_meta or hasattr(mixer, "_hf_hook"):
        raise ValueError(f"{where} is not in memory: constrain the model before it is offloaded")
    if not weight.is_floating_point() or weight.shape[0] != steps + 2 * states:
        raise ValueError(
            f"{where} has a weight {tuple(weight.shape)} of {weight.dtype}, takes floating point "
            f"and {steps} + 2 x {states} rows"
        )
    if held.rank not in (None, states):
        raise ValueError(f"rank: got {held.rank}, but {name} has {states} states")
    if held.sign == "mixed" and not 1 <= (held.positive or states // 2) < states:
        raise ValueError(
            f"positive: got {held.positive}, takes fewer than the {states} states of {name}, "
            f"and one at least"
        )
    if held.form == "trapezoid" and states > weight.shape[1]:
        raise ValueError(f"{where} has {weight.shape[1]} channels, takes as many as {states} rows")
    if held.form == "rows" and not bool(weight.detach()[steps + states :].any(1).all()):
        raise ValueError(f"{where} has a row of zeros in S_C, takes none in the form 'rows'")


def _count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
