"""The flow's coefficients and its first row; what appendix B prints of them, and appendix A."""

from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from tokensphere import s6
from tokensphere.flow import FirstTokenFlow, MambaFlow, random_tokens
from tokensphere.paper.checks import tools
from tokensphere.paper.ledger import Evidence, equal

from ._problems import DIM, LENGTH, ROUNDING, moving, problem


def coefficients(generator: Generator, first_decay: int) -> Evidence:
    """Eq (8) at a random depth, by its formula, against the S6 recurrence's attention.

    The decays run from token j + first_decay on; eq (8) says 1.
    """
    field, x = problem(generator)
    t = float(tools.uniform(generator))
    field = moving(generator, field)
    S_BC, S_Delta, a = field.S_BC(t), field.S_Delta(t), field.a(t)
    steps = softplus(x @ S_Delta)
    formula = torch.zeros(DIM, LENGTH, LENGTH, dtype=torch.float64)
    for l in range(LENGTH):
        for j in range(l + 1):
            elapsed = steps[j + first_decay : l + 1].sum(0)
            formula[:, l, j] = (x[l] @ S_BC @ x[j]) * steps[j] * torch.exp(-a * elapsed)
    _, *tensors = tools.s6_layout(x, steps, a, S_BC, torch.eye(DIM, dtype=torch.float64))
    recurrent = s6.hidden_attention(*tensors)[0]
    differences = {
        "eq (8)": formula - recurrent,
        "the library's field": field.attention(x, t) - recurrent,
    }
    return Evidence(tools.agree(ROUNDING, differences))


def autonomous_row(generator: Generator, row: int) -> Evidence:
    """Whether a row's velocity is q(y) P_y(Delta(y) * y), whatever the other tokens and a are."""
    field, x = problem(generator)
    other = random_tokens(LENGTH, DIM, generator=generator)
    other[row] = x[row]
    alone = FirstTokenFlow(field.S_BC, field.S_Delta)(x[row])
    seen = {
        "the row as drawn": field(x),
        "the row among other tokens": field(other),
        "three times the rates": MambaFlow(field.S_BC, field.S_Delta, 3 * field.a)(x),
    }
    differences = {name: velocity[row] - alone for name, velocity in seen.items()}
    return Evidence(tools.agree(ROUNDING, differences))


def initial_sphere(generator: Generator, channel: bool) -> Evidence:
    """For which d = 1..D the product of spheres that eq (15) names holds initial tokens of eq (14).

    With `channel` S^{d-1} as printed, d the channel's index of eq (16); without, S^{D-1}.
    """
    field, _ = problem(generator)
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


def autonomous_coefficients(generator: Generator, printed: bool) -> Evidence:
    """Eqs (16)-(17) as coefficients A(x(t)) of the autonomous system (14).

    As printed x_j has no argument t, so that it is a constant, and a_d and S_{Delta,d} have one.
    Both readings are compared along a solution of eq (6) with constant parameters.
    """
    field, x0 = problem(generator)
    drift = moving(generator, field)
    x = tools.ends(field, x0, 1.0)

    def coefficient(t: float) -> Tensor:
        """A_{d,21}, (D,)."""
        steps = softplus(x @ (drift.S_Delta(t) if printed else field.S_Delta))
        rates = drift.a(t) if printed else field.a
        key = x0[0] if printed else x[0]
        return (x[1] @ field.S_BC @ key) * steps[0] * torch.exp(-rates * steps[1])

    differences = {
        "the same tokens at another t": coefficient(1.0) - coefficient(0.5),
        # At t = 0 the moving parameters are those of `field`: what is left is x_j without t.
        "eq (5) at the tokens of time t": coefficient(0.0) - field.attention(x)[:, 1, 0],
    }
    return Evidence(tools.agree(ROUNDING, differences))


def threshold_gates(one: tuple[int, ...], other: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The functions of two bits, as columns of four values, of a gate that reads two of them."""
    return {
        tuple(int(u * f + v * g > bound - 0.5) for f, g in zip(one, other, strict=True))
        for u, v, bound in product((-1, 0, 1), (-1, 0, 1), (-1, 0, 1, 2))
    }


def equal_if_in_one_class(generator: Generator) -> Evidence:
    """Two classes of functions of two bits, both within a third, would be one class.

    They are the single threshold gates, and the sums modulo 2; circuits of threshold gates of
    depth 2 compute both.
    """
    bits = list(product((0, 1), repeat=2))
    gates = threshold_gates(*zip(*bits, strict=True))
    circuits = set().union(*(threshold_gates(*pair) for pair in product(gates, repeat=2)))
    sums = {
        tuple((u * x + v * y + w) % 2 for x, y in bits) for u, v, w in product((0, 1), repeat=3)
    }
    criteria = [
        equal("gates and sums that no circuit computes", len((gates | sums) - circuits), 0),
        equal("functions that are in one of the two classes alone", len(gates ^ sums), 0),
    ]
    sizes = {"gates": len(gates), "sums": len(sums), "circuits": len(circuits)}
    return Evidence(criteria, sizes)
