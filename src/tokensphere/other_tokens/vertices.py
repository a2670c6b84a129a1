"""Tokens of eq (6) at coordinate vectors: which arrangements rest, attract, and from which rates.

At x_l = s_l e_{d_l}, signs s_l, write

    H_lk = sum_{j<=l, d_j=k} Delta_k(x_j) exp(-a_k sum_{m=j+1}^{l} Delta_k(x_m)).

The point rests if and only if S_BC[d_l, d_j] = 0 for all j < l with d_j != d_l. The linearisation
is block triangular in the tokens; token l at e_d has the block, in rows and columns k != d,

    S_dd (diag(Delta_k(x_l)) - H_ld) + diag(H_lk) S_BC^T.

All tokens at +-e_d are the case d_l = d, with eigenvalues S_dd (Delta_k(x_l) - F_l), F_l = H_ld.
Derivations: the chapter "Without the shared-step assumption", whose formulas these are.
"""

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from tokensphere.door import instance, positive, takes, tensor, whole

from ..first_token import tangent_basis
from ..flow import MambaFlow
from .spectra import tangent_jacobian

__all__ = [
    "consensus_attracts",
    "equal_signs_attract",
    "newton_equilibrium",
    "patterns_that_attract",
    "random_vertex_equilibrium",
    "separation_rates",
    "sign_patterns",
    "tokens_at_vertices",
    "vertex_spectrum",
]


@takes(dim=whole(1), vertices=tensor("L", kinds="i", alike=False), signs=tensor("L", alike=False))
def tokens_at_vertices(dim: int, vertices: Tensor, signs: Tensor) -> Tensor:
    """Tokens s_l e_{d_l}, (L, dim), float64, from vertices d_l and signs s_l, both (L,).

    Raises:
        ValueError: a vertex outside 0 .. dim - 1, a sign that is not 1 or -1, other shapes.
    """
    if vertices.ndim != 1 or not bool(((vertices >= 0) & (vertices < dim)).all()):
        raise ValueError(f"vertices: got {vertices.tolist()}, takes (L,) of 0 to {dim - 1}")
    if signs.shape != vertices.shape or not bool((signs.abs() == 1).all()):
        raise ValueError(f"signs: got {signs.tolist()}, takes {len(vertices)} of 1 and -1")
    return one_hot(vertices, dim) * signs.double().unsqueeze(-1)


@takes(
    flow=instance(MambaFlow),
    vertices=tensor("L", kinds="i", alike=False),
    signs=tensor("L", alike=False),
)
def vertex_spectrum(flow: MambaFlow, vertices: Tensor, signs: Tensor) -> Tensor:
    """The eigenvalues of eq (6) at x_l = s_l e_{d_l}, (L, D-1) complex: row l those of token l's
    block, in the module's text. For a diagonal S_BC they are its diagonal.

    Args:
        flow: one flow, no batch, with constant parameters.
        vertices, signs: (L,), as for :func:`tokens_at_vertices`.
    Raises:
        ValueError: as :func:`tokens_at_vertices`; S_BC[d_l, d_j] is not 0 for a j < l with another
            vertex, so that the point does not rest.
    """
    S = flow.S_BC
    x = tokens_at_vertices(len(S), vertices, signs)
    other = vertices.unsqueeze(-1) != vertices
    if bool((S[vertices][:, vertices] * other).tril().any()):
        raise ValueError("vertices: no equilibrium, S_BC couples a token to an earlier one's")
    steps = softplus(x @ flow.S_Delta)
    elapsed = (flow.a * steps).cumsum(0)
    later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1).unsqueeze(-1)
    decay = (elapsed.unsqueeze(0) - elapsed.unsqueeze(1)).masked_fill(later, -math.inf)  # (l, j, k)
    H = (decay.exp() * steps * x.abs()).sum(1)
    rows = []
    for token, d in enumerate(vertices.tolist()):
        others = [k for k in range(len(S)) if k != d]
        own = torch.diag(S[d, d] * (steps[token, others] - H[token, d]))
        block = own + H[token, others].unsqueeze(-1) * S.mT[others][:, others]
        rows.append(torch.linalg.eigvals(block))
    return torch.stack(rows)


@takes(flow=instance(MambaFlow), length=whole(1), generator=instance(torch.Generator))
def random_vertex_equilibrium(
    flow: MambaFlow, length: int, generator: torch.Generator
) -> tuple[MambaFlow, Tensor, Tensor]:
    """Random vertices and signs of `length` tokens, and the flow with such entries of S_BC set to
    0 that they rest: (flow, vertices (L,), signs (L,)).

    Args:
        flow: one flow, no batch, with constant parameters; it stays as it is.
    """
    dim = len(flow.S_BC)
    vertices = torch.randint(dim, (length,), generator=generator)
    signs = torch.where(torch.rand(length, generator=generator) < 0.5, -1.0, 1.0)
    S_BC = flow.S_BC.clone()
    for token, own in enumerate(vertices.tolist()):
        earlier = vertices[:token]
        S_BC[own, earlier[earlier != own]] = 0.0
    return MambaFlow(S_BC, flow.S_Delta, flow.a), vertices, signs


@takes(flow=instance(MambaFlow), x=tensor("L", "D", dtype="float64", unit=True), steps=whole(1))
def newton_equilibrium(flow: MambaFlow, x: Tensor, steps: int = 30) -> tuple[Tensor, float]:
    """The equilibrium near x, by Newton's method, and the largest real part of its spectrum.

    Args:
        flow: one flow, no batch.
        x: (L, D), unit rows, near an equilibrium whose Jacobian is regular.
        steps: of Newton's method, each followed by a return to the spheres.
    Raises:
        ValueError: the speed that is left exceeds 1e-9, so that there is no equilibrium near x, or
            it is not regular.
    """
    for _ in range(steps):
        jacobian, basis = tangent_jacobian(flow, x), torch.block_diag(*tangent_basis(x))
        step = basis @ torch.linalg.solve(jacobian, basis.mT @ flow(x).flatten())
        x = x - step.view_as(x)
        x = x / x.norm(dim=-1, keepdim=True)
    speed = float(flow(x).norm(dim=-1).max())
    if not speed < 1e-9:
        raise ValueError(f"x: no equilibrium near it, a speed of {speed:.1e} is left")
    return x, float(torch.linalg.eigvals(tangent_jacobian(flow, x)).real.max())


@takes(length=whole(1))
def sign_patterns(length: int) -> Tensor:
    """All sign patterns with s_1 = 1, (2^(L-1), L), float64; the first is all plus.

    Raises:
        ValueError: a length below 1.
    """
    if length < 1:
        raise ValueError(f"length: got {length}, takes 1 or more")
    patterns = [(1.0, *rest) for rest in product((1.0, -1.0), repeat=length - 1)]
    return torch.tensor(patterns, dtype=torch.float64)


@takes(flow=instance(MambaFlow), signs=tensor("n", "L", alike=False))
def consensus_attracts(flow: MambaFlow, signs: Tensor) -> Tensor:
    """Which consensus points (s_l s e_d) attract exponentially, (..., D, 2, n): s = 1, then -1.

    All tokens have negative eigenvalues: S_dd (F_l - Delta_k(s_l s e_d)) > 0 for all l and k != d,
    with F_l = Delta_d(x_l) + exp(-a_d Delta_d(x_l)) F_{l-1} and F_0 = 0.

    Args:
        flow: with constant parameters, S_BC a tensor (..., D, D); may be a batch.
        signs: n patterns (n, L) of 1 and -1, such as :func:`sign_patterns`.
    Raises:
        ValueError: other signs.
    """
    if signs.ndim != 2 or not bool((signs.abs() == 1).all()):
        raise ValueError(f"signs: shape {tuple(signs.shape)}, takes (n, L) of 1 and -1")
    diagonal = flow.S_BC.diagonal(dim1=-2, dim2=-1)[..., None, None, None]
    S_Delta, a = flow.S_Delta[..., None, None], flow.a[..., None, None]
    own = torch.eye(S_Delta.shape[-3], dtype=torch.bool)[..., None, None]
    attracts, weight = torch.tensor(True), torch.zeros(())
    for token in range(signs.shape[-1]):
        side = torch.stack([signs[:, token], -signs[:, token]])  # (2, n)
        steps = softplus(S_Delta * side)  # (..., d, k, 2, n)
        step = steps.diagonal(dim1=-4, dim2=-3).movedim(-1, -3)
        weight = step + torch.exp(-a * step) * weight
        gain = diagonal * (weight.unsqueeze(-3) - steps)
        attracts = attracts & ((gain > 0) | own).all(-3)
    return attracts


@takes(
    S_Delta=tensor("n", "D", "D", dtype="float64"),
    a=tensor("n", "D", dtype="float64", above=0.0),
    length=whole(1),
)
def patterns_that_attract(S_Delta: Tensor, a: Tensor, length: int) -> Tensor:
    """At each coordinate vector that attracts the first token, how many of the 2^(L-1) patterns of
    signs attract, if S_dd > 0: 1 or more.

    Args:
        S_Delta, a: (n, D, D) and (n, D): a batch of parameters.
        length: L.
    Returns:
        (number of such vectors in all of the batch,), integers.
    """
    form = torch.eye(S_Delta.shape[-1], dtype=torch.float64).expand_as(S_Delta)
    found = consensus_attracts(MambaFlow(form, S_Delta, a), sign_patterns(length))
    return found[found[..., 0]].sum(-1)


@takes(
    S_Delta=tensor("n", "D", "D", dtype="float64"),
    a=tensor("n", "D", dtype="float64", above=0.0),
    length=whole(1),
)
def equal_signs_attract(S_Delta: Tensor, a: Tensor, length: int) -> Tensor:
    """Which coordinate vectors e_d, then -e_d, attract `length` tokens with equal signs, (n, D, 2),
    if S_dd < 0: those with Delta_d sum_{i<L} e^{-i a_d Delta_d} below the other steps there.

    Where S_dd > 0 they are those that attract the first token, for every length.

    Args:
        S_Delta, a: (n, D, D) and (n, D): a batch of parameters.
        length: L, 1 or more.
    """
    form = -torch.eye(S_Delta.shape[-1], dtype=torch.float64).expand_as(S_Delta)
    ones = torch.ones(1, length, dtype=torch.float64)
    return consensus_attracts(MambaFlow(form, S_Delta, a), ones)[..., 0]


@takes(size=positive())
def separation_rates(size: float = 1.0) -> tuple[float, float]:
    """(a*, a**) for S_BC = I and S_Delta = size * I, tokens at the vectors +e_d.

    T = softplus(size) is the step of a vector's own channel, ln 2 that of the others:

        a* = log2(T / (T - ln 2)),    a** = log2((2 T - ln 2) / (T - ln 2)).

    If all a_d < a*, no arrangement at two or more vectors attracts; if all a_d > a*, tokens at
    L <= D different ones do; if all a_d > a**, every arrangement does, for every L.
    a** is enough, not needed: every arrangement does if and only if T 2^{-a_d} <= (T - ln 2)
    (1 - e^{-a_d T}) for all d, which for size = 1 is from 1.351 on.

    Raises:
        ValueError: a size that is not positive.
    """
    if not size > 0:
        raise ValueError(f"size: got {size}, takes a positive number")
    top, half = math.log1p(math.exp(size)), math.log(2.0)
    return math.log2(top / (top - half)), math.log2((2 * top - half) / (top - half))
