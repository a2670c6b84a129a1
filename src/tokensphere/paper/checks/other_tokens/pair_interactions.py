"""Claims of appendix B.2, up to Lemma B.10: eq (25), consensus configurations, interactions."""

import itertools

import sympy
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.flow import (
    AutoregressiveFlow,
    MambaFlow,
    SharedStepFlow,
    causal_attention,
    random_tokens,
    simulate,
)
from tokensphere.other_tokens import interaction_speeds, interactions
from tokensphere.paper.ledger import Evidence

ROUNDING = 1e-12
"""Sums of some tens of products of numbers of order one to ten."""


def draw(
    generator: torch.Generator, count: int, length: int, dim: int, symmetric: bool
) -> tuple[SharedStepFlow, Tensor]:
    """`count` random flows (11) and token sequences x, (count, length, dim); entries Gaussian."""
    S_BC = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    if symmetric:
        S_BC = (S_BC + S_BC.mT) / 2
    alpha = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    a = 0.2 + torch.rand(count, generator=generator, dtype=torch.float64)
    return SharedStepFlow(S_BC, alpha, a), random_tokens(count, length, dim, generator=generator)


def derivatives(flow, x: Tensor, S_BC: Tensor) -> tuple[Tensor, Tensor]:
    """dX/dt and dU/dt along the flow by the product rule, (..., L, L), without any lemma."""
    v = flow(x)
    return v @ x.mT + x @ v.mT, v @ S_BC @ x.mT + x @ S_BC @ v.mT


def lemma_entry(A, X, U, i: int, j: int, of: str, printed: bool = True):
    """dX_ij/dt or dU_ij/dt (`of` is "X" or "U") by the sums of Lemma B.10; indices from 0.

    Works on tensors (..., L, L) and on sympy matrices. As printed the second sum has U_ki and
    U_ji; otherwise U_ik and U_ij.
    """
    V = X if of == "X" else U

    def second(k):
        if of == "X" or not printed:
            return V[..., i, k], V[..., i, j]
        return V[..., k, i], V[..., j, i]

    first = (A[..., i, k] * (V[..., k, j] - X[..., i, k] * V[..., i, j]) for k in range(i))
    other = (A[..., j, k] * (second(k)[0] - X[..., j, k] * second(k)[1]) for k in range(j))
    return sum(itertools.chain(first, other), 0 * V[..., i, j])


class Entries(sympy.Matrix):
    """A sympy matrix that is indexed like a tensor, [..., i, j], too."""

    def __getitem__(self, key):
        return super().__getitem__(key[1:] if isinstance(key, tuple) and len(key) == 3 else key)


def symbolic_lemma(length: int, dim: int, symmetric: bool) -> tuple[dict, dict, dict]:
    """d/dt by the product rule minus the lemma's sums, expanded: for X, for U as printed, for U
    with U_ik and U_ij; each {(i, j): expression}, for i >= j, 1-based, all parameters symbols.

    Tokens need not have norm one, for j < i; where i = j this is d/dt of half the identity.
    """
    x = [sympy.Matrix(sympy.symbols(f"x{i}_1:{dim + 1}")) for i in range(1, length + 1)]
    order = (lambda i, j: (min(i, j), max(i, j))) if symmetric else (lambda i, j: (i, j))
    S_BC = sympy.Matrix(dim, dim, lambda i, j: sympy.Symbol("s{}{}".format(*order(i, j))))
    X = Entries(length, length, lambda i, j: x[i].dot(x[j]))
    U = Entries(length, length, lambda i, j: x[i].dot(S_BC * x[j]))
    A = Entries(length, length, lambda i, j: sympy.Symbol(f"a{i}{j}") * U[i, j])
    zero = sympy.zeros(dim, 1)
    v = [sum((A[i, k] * (x[k] - X[i, k] * x[i]) for k in range(i)), zero) for i in range(length)]
    found = {}, {}, {}
    for i in range(length):
        for j in range(i + 1):
            rules = v[i].dot(x[j]) + x[i].dot(v[j]), v[i].dot(S_BC * x[j]) + x[i].dot(S_BC * v[j])
            terms = (
                rules[0] - lemma_entry(A, X, U, i, j, "X"),
                rules[1] - lemma_entry(A, X, U, i, j, "U"),
                rules[1] - lemma_entry(A, X, U, i, j, "U", printed=False),
            )
            for kind, term in zip(found, terms, strict=True):
                kind[i + 1, j + 1] = sympy.expand(term)
    return found


def printed_speeds(flow, x: Tensor, S_BC: Tensor) -> tuple[Tensor, Tensor]:
    """dX/dt and dU/dt as Lemma B.10 prints them, entry by entry, all i and j, (..., L, L)."""
    X, U = interactions(x, S_BC)
    A, length = flow.attention(x), x.shape[-2]
    return tuple(
        torch.stack(
            [
                torch.stack([lemma_entry(A, X, U, i, j, of) for j in range(length)], -1)
                for i in range(length)
            ],
            -2,
        )
        for of in "XU"
    )


def definition(generator: torch.Generator, transposed: bool) -> Evidence:
    """interactions against sums over coordinates; or with S_BC transposed."""
    flow, x = draw(generator, 5, 4, 3, symmetric=False)
    X, U = interactions(x, flow.S_BC.mT if transposed else flow.S_BC)
    sums = torch.einsum("nid,nde,nje->nij", x, flow.S_BC, x)
    off = float((X - torch.einsum("nid,njd->nij", x, x)).abs().max())
    off_U = float((U - sums).abs().max())
    return Evidence(
        max(off, off_U) < ROUNDING, {"difference for X": off, "difference for U": off_U}
    )


def token_derivative(generator: torch.Generator, projected: bool) -> Evidence:
    """dx_i/dt = sum_j a_ij U_ij (x_j - X_ij x_i), weights spelled out; or without X_ij x_i."""
    flow, x = draw(generator, 20, 5, 4, symmetric=False)
    X, U = interactions(x, flow.S_BC)
    steps = softplus((x @ flow.alpha.unsqueeze(-1))[..., 0])
    v = torch.zeros_like(x)
    for i in range(5):
        for j in range(i):
            weight = steps[:, j] * torch.exp(-flow.a * steps[:, j + 1 : i + 1].sum(-1)) * U[:, i, j]
            v[:, i] += weight[:, None] * (x[:, j] - projected * X[:, i, j, None] * x[:, i])
    off = float((v - flow(x)).abs().max())
    return Evidence(
        off < ROUNDING,
        {"largest difference": off, "largest |dx_i/dt|": float(v.norm(dim=-1).max())},
    )


def stands_still(generator: torch.Generator, token: int) -> Evidence:
    """How far token 1, or the second, is from its start at t = 5."""
    flow, x = draw(generator, 20, 3, 3, symmetric=True)
    times = torch.tensor([0.0, 5.0], dtype=torch.float64)
    moved = (simulate(flow, x, times, rtol=1e-6, atol=1e-8).tokens[-1] - x)[:, token].norm(dim=-1)
    return Evidence(
        float(moved.max()) < ROUNDING, {"token": token + 1, "largest move": float(moved.max())}
    )


def consensus_count(generator: torch.Generator, exponent: int) -> Evidence:
    """Distinct (x_1, +-x_1, ..., +-x_1) for D = 1, 2, 3 and L = 1, ..., 4, and the field there."""
    counts, speed = [], 0.0
    for dim, length in itertools.product((1, 2, 3), (1, 2, 3, 4)):
        flow, x = draw(generator, 1, 1, dim, symmetric=False)
        signs = itertools.product((1.0, -1.0), repeat=length - 1)
        patterns = torch.tensor([(1.0, *s) for s in signs], dtype=torch.float64)
        points = patterns[:, :, None] * x[0]
        distinct = len(torch.unique(points.flatten(1), dim=0))
        counts.append(distinct == 2 ** (length + exponent))
        speed = max(speed, float(flow(points).abs().max()))
    return Evidence(
        all(counts) and speed < ROUNDING,
        {"cases": len(counts), "with the stated count": sum(counts), "largest speed there": speed},
    )


def _speeds(generator: torch.Generator, which: str, symmetric: bool, shift: int = 0) -> Evidence:
    """The lemma's printed sums against the product rule, on tokens of every D and L from 1 to 5.

    `which`: "first column", "X", "U" (i >= j > 1) or "diagonal". A `shift` of 1 rolls the sum's
    weights by one key, which makes the statement wrong.
    """
    worst, entries = 0.0, 0
    for dim, length in ((1, 2), (2, 3), (3, 4), (4, 5), (3, 1)):
        flow, x = draw(generator, 5, length, dim, symmetric)
        X, U = interactions(x, flow.S_BC)
        A, true = flow.attention(x).tril(-1).roll(shift, -1), derivatives(flow, x, flow.S_BC)
        for i in range(length):
            for j in range(i + 1):
                if which == "first column":
                    kinds = "XU" if j == 0 < i else ""
                elif which == "diagonal":
                    kinds = "XU" if i == j else ""
                else:
                    kinds = which if j > 0 else ""
                for of in kinds:
                    off = lemma_entry(A, X, U, i, j, of) - true["XU".index(of)][:, i, j]
                    worst, entries = max(worst, float(off.abs().max())), entries + len(off)
    return Evidence(worst < ROUNDING, {"entries": entries, "largest difference": worst})


def any_form(generator: torch.Generator, printed: bool) -> Evidence:
    """The lemma's U_ij for nonsymmetric S_BC, all i and j: as printed, or with U_ik and U_ij."""
    flow, x = draw(generator, 20, 5, 4, symmetric=False)
    true = derivatives(flow, x, flow.S_BC)[1]
    speeds = (printed_speeds if printed else interaction_speeds)(flow, x, flow.S_BC)[1]
    off = (speeds - true).abs()
    lower = off[:, 1:, 1:].tril()
    return Evidence(
        float(off.max()) < ROUNDING,
        {"largest difference": float(off.max()), "for i >= j > 1": float(lower.max())},
    )


def exactly(generator: torch.Generator, symmetric: bool) -> Evidence:
    """Lemma B.10 in sympy, all entries i >= j of three tokens."""
    of_X, printed, _ = symbolic_lemma(3, 2, symmetric)
    wrong = [list(key) for key, value in printed.items() if value != 0]
    return Evidence(
        not wrong and not any(of_X.values()),
        {
            "entries": 2 * len(printed),
            "entries of X that differ": sum(value != 0 for value in of_X.values()),
            "entries (i, j) of U that differ": wrong,
        },
    )


def any_weights(generator: torch.Generator, times_U: bool) -> Evidence:
    """The lemma with a_ij U_ij replaced by the weights of eq (13), here causal attention."""
    Q, K, S_BC = (torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in "QKS")
    flow = AutoregressiveFlow(causal_attention(Q, K))
    x = random_tokens(20, 5, 4, generator=generator)
    true = derivatives(flow, x, S_BC)
    if times_U:
        U = interactions(x, S_BC)[1]
        speeds = interaction_speeds(AutoregressiveFlow(lambda y: flow.attention(y) * U), x, S_BC)
    else:
        speeds = interaction_speeds(flow, x, S_BC)
    off = max(float((s - t).abs().max()) for s, t in zip(speeds, true, strict=True))
    return Evidence(off < ROUNDING, {"sequences": len(x), "largest difference": off})


def map_is_linear(generator: torch.Generator, symmetric: bool) -> Evidence:
    """A map F of the sphere against x -> sum_k <x, F(e_k)> e_k, which a symmetric one equals.

    Symmetric: <F(x), y> = <x, F(y)> on all pairs of 60 points. Otherwise F is odd and continuous.
    """
    M = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    M = M + M.mT
    F = (lambda y: y @ M) if symmetric else (lambda y: (y @ M) * (1 + y[..., :1] ** 2))
    x, basis = random_tokens(60, 3, generator=generator), torch.eye(3, dtype=torch.float64)
    pairs = F(x) @ x.mT
    rebuilt = x @ F(basis).mT
    off = float((F(x) - rebuilt).abs().max())
    return Evidence(
        off < ROUNDING,
        {"asymmetry": float((pairs - pairs.mT).abs().max()), "distance from linear": off},
    )


def nonlinear(generator: torch.Generator, linear: bool) -> Evidence:
    """Lemma B.10's U_32 for U_ij = <x_i, F(x_j)>; F(y) = M y, or (1 + y_1^2) M y, M symmetric."""
    flow, x = draw(generator, 20, 3, 3, symmetric=True)
    M, power = flow.S_BC, 0.0 if linear else 1.0
    factor = 1 + power * x[..., :1] ** 2
    F = (x @ M) * factor
    A = flow.attention(x)
    v = AutoregressiveFlow(lambda _: A)(x)  # any weights will do
    X, U = x @ x.mT, x @ F.mT
    moved = (v @ M) * factor + (x @ M) * 2 * power * x[..., :1] * v[..., :1]
    true = v @ F.mT + x @ moved.mT
    off = (lemma_entry(A, X, U, 2, 1, "U") - true[:, 2, 1]).abs().max()
    first = (lemma_entry(A, X, U, 2, 0, "U") - true[:, 2, 0]).abs().max()
    return Evidence(
        float(off) < ROUNDING,
        {"difference for U_32": float(off), "difference for U_31": float(first)},
    )


def coefficients_agree(generator: torch.Generator, step_of: str) -> Evidence:
    """Eq (8) under assumption (10), against eq (12) with the step of the query or of the key."""
    dim, length, a = 4, 6, 0.7
    S_BC = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    alpha = torch.randn(dim, generator=generator, dtype=torch.float64)
    x = random_tokens(length, dim, generator=generator)
    full = MambaFlow(S_BC, alpha[:, None].expand(dim, dim), torch.full_like(alpha, a))
    equation_8 = full.attention(x)[0]
    steps = softplus(x @ alpha)
    front = steps[:, None] if step_of == "query" else steps[None, :]
    elapsed = steps.cumsum(0)
    decay = torch.exp(-a * (elapsed[:, None] - elapsed[None, :]))
    equation_12 = ((x @ S_BC @ x.mT) * front * decay).tril()
    difference = float((equation_12 - equation_8).abs().max())
    in_library = float((SharedStepFlow(S_BC, alpha, a).attention(x) - equation_8).abs().max())
    # Rounding of sums of a few steps.
    return Evidence(
        difference < 1e-12,
        {
            "largest difference from eq (8)": difference,
            "largest coefficient": float(equation_8.abs().max()),
            "library's difference from eq (8)": in_library,
        },
    )
