"""Claims of appendix B.2, up to Lemma B.10: eq (25), consensus configurations, interactions."""

import itertools

import numpy as np
import sympy
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import AutoregressiveFlow, MambaFlow, SharedStepFlow
from tokensphere.flow.fields import causal_attention, random_tokens
from tokensphere.other_tokens import interaction_speeds, interactions
from tokensphere.other_tokens.interactions import consensus_configurations, product_rule_speeds
from tokensphere.other_tokens.symbolic import symbolic_interactions
from tokensphere.paper.checks.tools import agree, ends, largest, normal, uniform
from tokensphere.paper.ledger import Evidence, below, equal

ROUNDING = 1e-12
"""Sums of some tens of products of numbers of order one to ten."""


def random_sequences(
    generator: torch.Generator, count: int, length: int, dim: int, symmetric: bool = False
) -> tuple[SharedStepFlow, Tensor]:
    """`count` random flows (11) and token sequences x, (count, length, dim); entries Gaussian."""
    S_BC = normal(generator, count, dim, dim)
    if symmetric:
        S_BC = (S_BC + S_BC.mT) / 2
    flow = SharedStepFlow(S_BC, normal(generator, count, dim), 0.2 + uniform(generator, count))
    return flow, random_tokens(count, length, dim, generator=generator)


def printed_speeds(A, X, V) -> np.ndarray:
    """V' by the display of Lemma B.10, V being X or U, index by index: (..., L, L), all i and j.

    A has no entries on and above the diagonal, so that sums over k are over k < i and k < j.
    """
    first = np.einsum("...ik,...kj->...ij", A, V)
    own = np.einsum("...ik,...ik,...ij->...ij", A, X, V)
    second = np.einsum("...jk,...ki->...ij", A, V)
    other = np.einsum("...jk,...jk,...ji->...ij", A, X, V)
    return first - own + (second - other)


def definition(generator: torch.Generator, transposed: bool) -> Evidence:
    """The library's interactions against sums over coordinates; or with S_BC transposed."""
    flow, x = random_sequences(generator, 5, 4, 3)
    X, U = interactions(x, flow.S_BC.mT if transposed else flow.S_BC)
    sums_X = torch.einsum("nid,njd->nij", x, x)
    sums_U = torch.einsum("nid,nde,nje->nij", x, flow.S_BC, x)
    return Evidence(agree(ROUNDING, {"X": X - sums_X, "U": U - sums_U}))


def coefficients_agree(generator: torch.Generator, step_of: str) -> Evidence:
    """Eq (8) under assumption (10), against eq (12) with the step of the "query" or the "key"."""
    dim, a = 4, 0.7
    S_BC, alpha = normal(generator, dim, dim), normal(generator, dim)
    x = random_tokens(6, dim, generator=generator)
    full = MambaFlow(S_BC, alpha[:, None].expand(dim, dim), torch.full_like(alpha, a))
    equation_8 = full.attention(x)[0]
    steps = softplus(x @ alpha)
    front = steps[:, None] if step_of == "query" else steps
    elapsed = steps.cumsum(0)
    decay = torch.exp(-a * (elapsed[:, None] - elapsed))
    equation_12 = ((x @ S_BC @ x.mT) * front * decay).tril()
    in_library = SharedStepFlow(S_BC, alpha, a).attention(x)
    off = {"eq (12) from eq (8)": equation_12 - equation_8, "the library": in_library - equation_8}
    return Evidence(agree(ROUNDING, off), {"largest coefficient": largest(equation_8)})


def token_derivative(generator: torch.Generator, projected: bool) -> Evidence:
    """dx_i/dt = sum_j a_ij U_ij (x_j - X_ij x_i), weights spelled out; or without X_ij x_i."""
    flow, x = random_sequences(generator, 20, 5, 4)
    X, U = interactions(x, flow.S_BC)
    steps = softplus((x @ flow.alpha.unsqueeze(-1))[..., 0])
    v = torch.zeros_like(x)
    for i in range(5):
        for j in range(i):
            weight = steps[:, j] * torch.exp(-flow.a * steps[:, j + 1 : i + 1].sum(-1)) * U[:, i, j]
            v[:, i] += weight[:, None] * (x[:, j] - projected * X[:, i, j, None] * x[:, i])
    return Evidence(agree(ROUNDING, {"the tokens' speeds": v - flow(x)}))


def stands_still(generator: torch.Generator, token: int) -> Evidence:
    """How far the token of this number, from 1, is from its start at t = 5."""
    flow, x = random_sequences(generator, 20, 3, 3, symmetric=True)
    moved = (ends(flow, x, 5.0, rtol=1e-6, atol=1e-8) - x)[:, token - 1].norm(dim=-1)
    return Evidence([below("largest move of the token", float(moved.max()), ROUNDING)])


def consensus_count(generator: torch.Generator, exponent: int) -> Evidence:
    """2^(L + exponent) consensus configurations, D = 1, 2, 3 and L = 1, ..., 4, all at rest."""
    found, stated, speed = [], [], 0.0
    for dim, length in itertools.product((1, 2, 3), (1, 2, 3, 4)):
        flow, x = random_sequences(generator, 1, 1, dim)
        points = consensus_configurations(x[0, 0], length)
        found.append(len(torch.unique(points.flatten(1), dim=0)))
        stated.append(2 ** (length + exponent))
        speed = max(speed, largest(flow(points)))
    return Evidence(
        [
            equal("distinct configurations, by dimension and length", found, stated),
            below("largest speed there", speed, ROUNDING),
        ]
    )


def speeds(
    generator: torch.Generator, entries: str, of: str, symmetric: bool, shift: int = 0
) -> Evidence:
    """The lemma's printed sums against the product rule, on tokens of every D and L from 1 to 5.

    Args:
        entries: "first column" (i > j = 1), "other" (i >= j > 1) or "diagonal".
        of: "X", "U" or "XU" for both.
        shift: 1 rolls the sum's weights by one key, which makes the statement wrong.
    """
    off: dict[str, list[np.ndarray]] = {f"{name}'": [] for name in of}
    for dim, length in ((1, 2), (2, 3), (3, 4), (4, 5), (3, 1)):
        flow, x = random_sequences(generator, 5, length, dim, symmetric)
        V = dict(zip("XU", interactions(x, flow.S_BC), strict=True))
        true = dict(zip("XU", product_rule_speeds(flow, x, flow.S_BC), strict=True))
        A = flow.attention(x).tril(-1).roll(shift, -1).tril(-1)
        i, j = np.indices((length, length))
        chosen = {"first column": (j == 0) & (i > 0), "other": (j > 0) & (i >= j)}
        chosen["diagonal"] = i == j
        for name in of:
            differ = printed_speeds(A, V["X"], V[name]) - np.asarray(true[name])
            off[f"{name}'"].extend(differ[:, chosen[entries]].ravel())
    return Evidence(agree(ROUNDING, off), {"entries compared": len(off[f"{of[0]}'"])})


def any_form(generator: torch.Generator, printed: bool) -> Evidence:
    """U' for nonsymmetric S_BC, all i and j: as printed, or in the library's matrix form."""
    flow, x = random_sequences(generator, 20, 5, 4)
    found = interaction_speeds(flow, x, flow.S_BC)[1].numpy()
    if printed:
        found = printed_speeds(flow.attention(x).tril(-1), *interactions(x, flow.S_BC))
    off = found - product_rule_speeds(flow, x, flow.S_BC)[1].numpy()
    return Evidence(agree(ROUNDING, {"U'": off}), {"in the first column": largest(off[..., 0])})


def exactly(generator: torch.Generator, symmetric: bool) -> Evidence:
    """Lemma B.10 in sympy, all entries i >= j of three tokens in the plane."""
    del generator  # nothing is random
    found = symbolic_interactions(3, 2, symmetric)
    criteria = []
    for name, V, true in (("X'", found.X, found.dX), ("U'", found.U, found.dU)):
        off = true - printed_speeds(found.A, found.X, V)
        lower = [(i, j) for i in range(3) for j in range(i + 1)]
        wrong = [[i + 1, j + 1] for i, j in lower if sympy.expand(off[i, j]) != 0]
        criteria.append(equal(f"entries of {name} that differ", wrong, []))
    return Evidence(criteria)


def any_weights(generator: torch.Generator, times_U: bool) -> Evidence:
    """The lemma with a_ij U_ij replaced by the weights of eq (13), here causal attention."""
    Q, K, S_BC = normal(generator, 3, 4, 4)
    flow = AutoregressiveFlow(causal_attention(Q, K))
    x = random_tokens(20, 5, 4, generator=generator)
    true = product_rule_speeds(flow, x, S_BC)
    if times_U:
        U = interactions(x, S_BC)[1]
        flow = AutoregressiveFlow(lambda y: causal_attention(Q, K)(y) * U)
    dX, dU = interaction_speeds(flow, x, S_BC)
    return Evidence(agree(ROUNDING, {"X'": dX - true[0], "U'": dU - true[1]}))


def map_is_linear(generator: torch.Generator, symmetric: bool) -> Evidence:
    """A map F of the sphere is x -> sum_k <x, F(e_k)> e_k, on 60 points.

    F is symmetric, <F(x), y> = <x, F(y)>; or only odd and continuous, (1 + x_1^2) M x.
    """
    M = normal(generator, 3, 3)
    M = M + M.mT
    F = (lambda y: y @ M) if symmetric else (lambda y: (y @ M) * (1 + y[..., :1] ** 2))
    x, basis = random_tokens(60, 3, generator=generator), torch.eye(3, dtype=torch.float64)
    pairs = F(x) @ x.mT
    return Evidence(
        agree(ROUNDING, {"F, from the linear map": F(x) - x @ F(basis).mT}),
        {"largest asymmetry on pairs of points": largest(pairs - pairs.mT)},
    )


def nonlinear(generator: torch.Generator, linear: bool) -> Evidence:
    """The lemma's U_31' and U_32' for U_ij = <x_i, F(x_j)>, M symmetric.

    F(y) = M y, or (1 + y_1^2) M y, which is odd and not linear.
    """
    flow, x = random_sequences(generator, 20, 3, 3, symmetric=True)
    M, power = flow.S_BC, 0.0 if linear else 1.0
    factor = 1 + power * x[..., :1] ** 2
    F = (x @ M) * factor
    A = flow.attention(x).tril(-1)
    v = AutoregressiveFlow(lambda _: A)(x)  # any weights will do
    moved = (v @ M) * factor + (x @ M) * 2 * power * x[..., :1] * v[..., :1]
    off = printed_speeds(A, x @ x.mT, x @ F.mT) - (v @ F.mT + x @ moved.mT).numpy()
    named = {"tokens 3 and 1": off[:, 2, 0], "tokens 3 and 2": off[:, 2, 1]}
    return Evidence(agree(ROUNDING, named))
