"""Claims about the S6 layer, section 2.1."""

import math

import sympy
import torch
from sympy import Matrix, symarray
from torch import Generator, Tensor
from torch.nn.functional import softplus

from tokensphere import s6, symbolic
from tokensphere.flow import MambaFlow, one_rate, random_tokens
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Criterion, Evidence, above, below, equal

ROUNDING = 1e-12
"""Relative to the largest entry: float64 sums of some tens of terms of either sign."""

EXTREME = (1e-6, 50.0)
"""Steps over which the two forms are compared: from no decay at all to complete decay."""


def _log_uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    return low * (high / low) ** tools.uniform(generator, *shape)


def _draw(generator: Generator, length: int = 9, dim: int = 3, states: int = 4):
    """x (L, D), steps (L, D), a (D,), S_B and S_C (N, D) of eqs (1)-(2)."""
    x = tools.normal(generator, length, dim)
    delta = _log_uniform(generator, *EXTREME, length, dim)
    a = tools.normal(generator, dim).exp()
    return x, delta, a, *(tools.normal(generator, states, dim) for _ in range(2))


def _relative(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


def equation_1(generator: Generator, reads: str) -> Evidence:
    """The recurrence literally, read after or before its update, against the library's scan."""
    x, delta, a, S_B, S_C = _draw(generator)
    y = torch.zeros_like(x)
    for d in range(x.shape[1]):
        state = torch.zeros(len(S_B), dtype=torch.float64)
        for l in range(len(x)):
            A_bar = math.exp(-a[d] * delta[l, d])
            B_bar = delta[l, d] * (S_B @ x[l])
            updated = A_bar * state + B_bar * x[l, d]
            y[l, d] = (S_C @ x[l]) @ (updated if reads == "new" else state)
            state = updated
    difference = _relative(s6.scan(*tools.s6_layout(x, delta, a, S_B, S_C))[0].mT, y)
    return Evidence([below("relative difference from the scan", difference, ROUNDING)])


def equation_2(generator: Generator, hold: bool) -> Evidence:
    """A-bar and B-bar read off the library's response to single inputs, against eq (2).

    With `hold`, B-bar is that of an input held constant over the step, (1 - e^{-a Delta}) / a.
    """
    _, delta, a, _, _ = _draw(generator)
    delta = delta.clamp(max=5.0)  # beyond, the decay that is read off would be rounded away
    one = torch.ones(1, 1, len(delta), dtype=torch.float64)
    M = s6.hidden_attention(delta.mT[None], -a[:, None], one, one)[0]
    B_bar = M.diagonal(dim1=1, dim2=2).mT
    A_bar = M.diagonal(-1, dim1=1, dim2=2).mT / B_bar[:-1]
    printed = -torch.expm1(-a * delta) / a if hold else delta
    of_A, of_B = _relative(A_bar, torch.exp(-a * delta[1:])), B_bar / printed - 1
    criteria = tools.agree(ROUNDING, {"A-bar, relative": of_A, "B-bar, relative": of_B})
    return Evidence(criteria, {"largest a Delta": float((a * delta).max())})


def equation_3(generator: Generator, of: str) -> Evidence:
    """Steps of the flow's layer, read off its diagonal, against ln(1 + e^{<S_{Delta,d}, x_l>})."""
    dim = 4
    x = random_tokens(7, dim, generator=generator)
    S_BC, S_Delta = tools.normal(generator, dim, dim), 3 * tools.normal(generator, dim, dim)
    M = MambaFlow(S_BC, S_Delta, torch.ones(dim, dtype=torch.float64)).attention(x)
    found = M.diagonal(dim1=1, dim2=2).mT / ((x @ S_BC) * x).sum(-1, keepdim=True)
    vectors = S_Delta.mT if of == "column" else S_Delta
    steps = [[math.log(1 + math.exp(float(vector @ u))) for vector in vectors] for u in x]
    # The form is a sum of 16 terms that may cancel to a hundredth: its rounding is divided by it.
    difference = _relative(found, torch.tensor(steps, dtype=torch.float64))
    numbers = {"smallest step": min(map(min, steps))}
    return Evidence([below("largest relative difference of a step", difference, 1e-11)], numbers)


def _exact_difference(transposed: bool) -> Matrix:
    """Recurrence less attention form for L = 3, D = N = 2, every entry a symbol, expanded."""
    x, delta = Matrix(symarray("x", (3, 2))), Matrix(symarray("delta", (3, 2)))
    a, S_B, S_C = symarray("a", 2), Matrix(symarray("b", (2, 2))), Matrix(symarray("c", (2, 2)))
    S_BC = S_B.T * S_C if transposed else S_C.T * S_B
    recurrence = symbolic.recurrence(x, delta, a, S_B, S_C)
    return (recurrence - symbolic.attention_form(x, delta, a, S_BC)).applyfunc(sympy.expand)


def recurrence_is_attention(generator: Generator, transposed: bool) -> Evidence:
    """Eqs (1)-(2) against eqs (4)-(5), exactly and in numbers, with S_BC or its transpose."""
    left = sum(entry != 0 for entry in _exact_difference(transposed))
    worst = 0.0
    for length in (1, 2, 3, 40):
        x, delta, a, S_B, S_C = _draw(generator, length)
        S_BC = S_B.mT @ S_C if transposed else S_C.mT @ S_B
        scores = x @ S_BC @ x.mT
        y = torch.zeros_like(x)
        for l in range(length):
            for j in range(l + 1):
                decay = torch.exp(-a * delta[j + 1 : l + 1].sum(0))
                y[l] += scores[l, j] * delta[j] * decay * x[j]
        tensors = tools.s6_layout(x, delta, a, S_B, S_C)
        M = s6.hidden_attention(*tensors[1:])[0]
        scanned = s6.scan(*tensors)[0].mT
        worst = max(worst, _relative(scanned, y), _relative((M @ x.mT[..., None])[..., 0].mT, y))
    criteria = [
        equal("entries in which the forms differ in symbols, L = 3", left, 0),
        below("largest relative difference, L up to 40", worst, ROUNDING),
    ]
    return Evidence(criteria)


def _mixer(generator: Generator, diagonal: bool, bias: bool) -> tuple[float, float]:
    """How far the layer in use is from eq (5), with the best rates, and its steps from eq (3).

    Its rates are S4D-real's -(1..N) in every channel, or -a_d for every state; its steps are
    softplus(<w_d, W x> + bias) with the usual initial bias, or none.
    """
    length, dim, states, rank = 12, 4, 6, 2
    x = random_tokens(length, dim, generator=generator)
    S_B, S_C = (tools.normal(generator, states, dim) for _ in range(2))
    S_Delta = tools.normal(generator, dim, rank) @ tools.normal(generator, rank, dim)
    initial = _log_uniform(generator, 1e-3, 1e-1, dim)
    offset = torch.log(torch.expm1(initial)) if bias else torch.zeros(dim, dtype=torch.float64)
    a = tools.normal(generator, dim).exp()
    A = -torch.arange(1.0, states + 1, dtype=torch.float64) if diagonal else -a[:, None]

    delta = softplus(x @ S_Delta + offset)
    B, C = x @ S_B.mT, x @ S_C.mT
    M = s6.hidden_attention(delta.mT[None], A.expand(dim, states), B.mT[None], C.mT[None])[0]
    # Under eq (3) the steps of x and -x have opposite arguments of softplus.
    arguments = [torch.log(torch.expm1(softplus(s * x @ S_Delta + offset))) for s in (1.0, -1.0)]
    _, distances = one_rate.nearest_rates(M, C @ B.mT, delta)
    return float(distances.max()), float(sum(arguments).abs().max() / 2)


def _rank_error(generator: Generator, rank: int) -> Tensor:
    """Largest error of the steps when an orthogonal S_Delta, D = 4, goes through `rank` numbers."""
    S_Delta = torch.linalg.qr(tools.normal(generator, 4, 4)).Q
    x = random_tokens(64, 4, generator=generator)
    U, S, Vh = torch.linalg.svd(S_Delta)
    factored = (x @ U[:, :rank] * S[:rank]) @ Vh[:rank]
    return (softplus(factored) - softplus(x @ S_Delta)).abs().max()


ATTENTION, STEPS = "distance from eq (5), best rates", "distance of the steps from eq (3)"


def _agrees(what: str, distance: float) -> Criterion:
    # Minimising over the rate leaves it inexact to the square root of rounding.
    return below(what, distance, 1e-6)


def mixer_stated(generator: Generator) -> Evidence:
    """The layer in use, with S4D-real rates and the usual step bias, against eqs (3) and (5)."""
    attention, steps = _mixer(generator, diagonal=True, bias=True)
    return Evidence([_agrees(ATTENTION, attention), _agrees(STEPS, steps)])


def mixer_corrected(generator: Generator) -> Evidence:
    """Equal rates and no bias give eqs (3) and (5); each deviation alone does not."""
    attention, steps = _mixer(generator, diagonal=False, bias=False)
    other_rates, _ = _mixer(generator, diagonal=True, bias=False)
    _, other_steps = _mixer(generator, diagonal=False, bias=True)
    full, less = _rank_error(generator, 4), _rank_error(generator, 3)
    criteria = [
        _agrees(f"equal rates: {ATTENTION}", attention),
        _agrees(f"no bias: {STEPS}", steps),
        below("error of the steps through as many numbers as the rank", full, ROUNDING),
        above(f"S4D rates alone: {ATTENTION}", other_rates, 1e-3),
        above(f"bias alone: {STEPS}", other_steps, 1e-3),
        above("error of the steps through one number less", less, 1e-3),
    ]
    return Evidence(criteria)
