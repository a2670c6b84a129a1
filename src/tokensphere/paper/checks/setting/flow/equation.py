"""The flow's coefficients and its first row; what appendix B prints of them, and appendix A."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere import s6
from tokensphere.flow import FirstTokenFlow, MambaFlow, random_tokens
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, below, equal

from ._problems import DIM, LENGTH, ROUNDING, moving, problem


def coefficients(generator: torch.Generator, first_decay: int) -> Evidence:
    """Eq (8) at a random depth, by its formula, against the S6 recurrence's attention.

    The decays run from token j + first_decay on; eq (8) says 1.
    """
    S_BC, S_Delta, a, x = problem(generator)
    t = float(torch.rand((), generator=generator, dtype=torch.float64))
    field = moving(generator, S_BC, S_Delta, a)
    S_BC, S_Delta, a = field.S_BC(t), field.S_Delta(t), field.a(t)
    steps = softplus(x @ S_Delta)
    formula = torch.zeros(DIM, LENGTH, LENGTH, dtype=torch.float64)
    for l in range(LENGTH):
        for j in range(l + 1):
            elapsed = steps[j + first_decay : l + 1].sum(0)
            formula[:, l, j] = (x[l] @ S_BC @ x[j]) * steps[j] * torch.exp(-a * elapsed)
    recurrent = s6.hidden_attention(
        steps.mT[None], -a[:, None].expand(DIM, DIM), (S_BC @ x.mT)[None], x.mT[None]
    )[0]
    library = float((field.attention(x, t) - recurrent).abs().max())
    return Evidence(
        [
            below("difference of eq (8)", float((formula - recurrent).abs().max()), ROUNDING),
            below("difference of the library's field", library, ROUNDING),
        ]
    )


def autonomous_row(generator: torch.Generator, row: int) -> Evidence:
    """Whether a row's velocity is q(y) P_y(Delta(y) * y), whatever the other tokens and a are."""
    S_BC, S_Delta, a, x = problem(generator)
    other = random_tokens(LENGTH, DIM, generator=generator)
    other[row] = x[row]
    alone = FirstTokenFlow(S_BC, S_Delta)(x[row])
    seen = {
        "as drawn": MambaFlow(S_BC, S_Delta, a)(x)[row],
        "among other tokens": MambaFlow(S_BC, S_Delta, a)(other)[row],
        "with three times the rates": MambaFlow(S_BC, S_Delta, 3 * a)(x)[row],
    }
    return Evidence(
        [
            below(f"difference {name}", float((velocity - alone).abs().max()), ROUNDING)
            for name, velocity in seen.items()
        ]
    )


def initial_sphere(generator: torch.Generator, channel: bool) -> Evidence:
    """For which d = 1..D the product of spheres that eq (15) names holds initial tokens of eq (14).

    With `channel` S^{d-1} as printed, d the channel's index of eq (16); without, S^{D-1}.
    """
    S_BC, S_Delta, a, _ = problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    fits = []
    for d in range(1, DIM + 1):
        x0 = random_tokens(LENGTH, d if channel else DIM, generator=generator)
        try:
            end = tools.ends(field, x0, 1.0)
        except ValueError:  # the library's word for tokens of another dimension
            continue
        if float((end.norm(dim=-1) - 1).abs().max()) < ROUNDING:
            fits.append(d)
    return Evidence([equal("channels d for which it does", fits, list(range(1, DIM + 1)))])


def autonomous_coefficients(generator: torch.Generator, printed: bool) -> Evidence:
    """Eqs (16)-(17) as coefficients A(x(t)) of the autonomous system (14).

    As printed x_j has no argument t, so that it is a constant, and a_d and S_{Delta,d} have one.
    Both readings are compared along a solution of eq (6) with constant parameters.
    """
    S_BC, S_Delta, a, x0 = problem(generator)
    field = MambaFlow(S_BC, S_Delta, a)
    drift = moving(generator, S_BC, S_Delta, a)
    x = tools.ends(field, x0, 1.0)

    def coefficient(x: Tensor, t: float) -> Tensor:
        """A_{d,21}, (D,)."""
        steps = softplus(x @ (drift.S_Delta(t) if printed else S_Delta))
        rates = drift.a(t) if printed else a
        key = x0[0] if printed else x[0]
        return (x[1] @ S_BC @ key) * steps[0] * torch.exp(-rates * steps[1])

    again = float((coefficient(x, 1.0) - coefficient(x, 0.5)).abs().max())
    # At t = 0 the moving parameters are those of `field`: what is left is x_j without t.
    layer = float((coefficient(x, 0.0) - field.attention(x)[:, 1, 0]).abs().max())
    return Evidence(
        [
            below("difference at the same tokens at another t", again, ROUNDING),
            below("difference from eq (5) at the tokens of time t", layer, ROUNDING),
        ]
    )


def threshold_gates(one: tuple[int, ...], other: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The functions of two bits, as columns of four values, of a gate that reads two of them."""
    levels = (-1, 0, 1)
    return {
        tuple(int(u * f + v * g > bound - 0.5) for f, g in zip(one, other, strict=True))
        for u in levels
        for v in levels
        for bound in (-1, 0, 1, 2)
    }


def equal_if_in_one_class(generator: torch.Generator) -> Evidence:
    """Two classes of functions of two bits, both within a third, would be one class.

    They are the single threshold gates, and the sums modulo 2; circuits of threshold gates of
    depth 2 compute both.
    """
    x, y = (0, 0, 1, 1), (0, 1, 0, 1)
    gates = threshold_gates(x, y)
    circuits = set().union(*(threshold_gates(one, other) for one in gates for other in gates))
    sums = {
        tuple((u * one + v * other + w) % 2 for one, other in zip(x, y, strict=True))
        for u in (0, 1)
        for v in (0, 1)
        for w in (0, 1)
    }
    return Evidence(
        [
            equal("gates and sums that no circuit computes", len((gates | sums) - circuits), 0),
            equal("functions that are in one of the two classes alone", len(gates ^ sums), 0),
        ],
        {"gates": len(gates), "sums": len(sums), "circuits": len(circuits)},
    )
