"""Consensus of the tokens: its spectrum, and the rates at which it is approached.

Near a consensus (s_1 x_1, ..., s_L x_1), signs s with s_1 = 1, write x_l = s_l x_1 + v_l with v_l
orthogonal to x_1. Where channels share one step, or weights are scalars (eqs (11) and (13)), all
tangent directions obey the same linear system, lower triangular in the tokens,

    dv_l/dt = sum_{j<l} A_lj (v_j - s_l s_j v_l),

with the attention A at the consensus: eigenvalue ``-sum_{j<l} s_l s_j A_lj`` for token l, D - 1
times. The first token stands still. Derivatives of A do not enter, as P_{x_l}(x_j) vanishes.

For eq (6) consensus is an equilibrium at a coordinate vector e_d, and component k of the tangent
space has a system of its own, with A_k the attention of channel k,

    dv_{l,k}/dt = sum_{j<=l} A_{k,lj} v_{j,k} - (sum_{j<=l} s_l s_j A_{d,lj}) v_{l,k}.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tokensphere.door import instance, takes, tensor

from ..first_token import tangent_basis
from ..flow import AutoregressiveFlow, MambaFlow, SharedStepFlow
from ..flow.checks import check_tokens
from .interactions import weights

Flow = SharedStepFlow | AutoregressiveFlow | MambaFlow

SAME = 1e-9
"""Eigenvalues closer than this, relative to the largest, count as one."""


@dataclass(frozen=True, eq=False)
class ConsensusRate:
    """How fast generic trajectories near a consensus approach it: |x_l - s_l x_1| ~ t^p e^{-r t}.

    Args:
        rates, powers: (L,), r and p of each token. The first token of eqs (11) and (13) does not
            move: its rate is infinite.
        rate, power: those of the sum over tokens, which its slowest term decides.
        profile: (L,), the slowest mode: the ratios that the s_l x_l - x_1 tend to, 1 for the first
            token that has it.
    """

    rates: Tensor
    powers: Tensor
    rate: float
    power: int
    profile: Tensor


@takes(
    flow=instance((SharedStepFlow, AutoregressiveFlow, MambaFlow)),
    x1=tensor("D", dtype="float64", unit=True),
    signs=tensor("L", alike=False),
)
def consensus_spectrum(flow: Flow, x1: Tensor, signs: Tensor) -> Tensor:
    """The eigenvalues of the flow's linearisation at (s_1 x_1, ..., s_L x_1), (L, D-1).

    Row l holds those of token l, by the formulas in the module's text; so they come with their
    multiplicities. In the first row: zeros for eqs (11) and (13), where the first token stands
    still; for eq (6) those of :func:`tokensphere.first_token.spectrum` at x1 = +-e_d, in the order
    of the other coordinates.

    At (x_1, ..., x_1, -x_1) of an AutoregressiveFlow the last row is +sum_{j<L} a_Lj: the paper's
    proof of Theorem B.16 has twice that, the rate at which 1 + <x_L, x_1> grows.

    Args:
        flow: with constant parameters; one flow, no batch.
        x1: (D,), unit; for a MambaFlow +-e_d.
        signs: (L,), entries 1 and -1, the first 1.
    Raises:
        ValueError: an argument of another shape or value, or a consensus of eq (6) elsewhere.
    """
    blocks = _linearisation(flow, x1, signs)
    values = blocks.diagonal(dim1=-2, dim2=-1).mT
    return values.expand(-1, len(x1) - 1) if values.shape[1] == 1 else values


@takes(
    flow=instance(SharedStepFlow),
    x1=tensor("D", dtype="float64", unit=True),
    xi=tensor("D", dtype="float64", unit=True),
    signs=tensor("L", alike=False),
)
def exceptional_spectrum(flow: SharedStepFlow, x1: Tensor, xi: Tensor, signs: Tensor) -> Tensor:
    """The eigenvalues at (s_1 x_1, ..., s_{L-1} x_1, xi) with <xi, S_BC x_1> = 0, (L, D-1).

    These are the points that Proposition B.13 excludes. Rows up to L - 1 are those of
    :func:`consensus_spectrum`. The last token feels the others only as far as it leaves the plane
    <., S_BC x_1> = 0:

        <x_1, S_BC x_1> sum_{j<L} a_Lj    once, and 0 with multiplicity D - 2,

    a_Lj = Delta(x_j) exp(-a sum_{k=j+1}^{L} Delta(x_k)). The paper has a_L1 in place of the sum.

    Args:
        signs: (L-1,), of the tokens before the last; the others as for :func:`consensus_spectrum`.
        xi: (D,), unit.
    Raises:
        ValueError: as :func:`consensus_spectrum`; <xi, S_BC x_1> is not 0, to rounding.
    """
    first = consensus_spectrum(flow, x1, signs)
    check_tokens(xi, len(x1), 1, name="xi")
    moved = _matrix(flow) @ x1
    if abs(float(xi @ moved)) > 1e-10 * float(moved.norm()):
        raise ValueError(f"xi: <xi, S_BC x1> = {float(xi @ moved):.1e}, takes one with 0")
    x = torch.cat([signs.to(x1).unsqueeze(-1) * x1, xi.unsqueeze(0)])
    last = torch.zeros_like(first[:1])
    last[0, 0] = (x1 @ moved) * weights(flow, x)[-1, :-1].sum()
    return torch.cat([first, last])


@takes(
    flow=instance((SharedStepFlow, AutoregressiveFlow, MambaFlow)),
    x=tensor("L", "D", dtype="float64", unit=True),
)
def tangent_jacobian(flow: Flow, x: Tensor) -> Tensor:
    """The flow's derivative at x (L, D) on the product of tangent spaces, (L (D-1), L (D-1)).

    By automatic differentiation, in :func:`tokensphere.first_token.tangent_basis` of each token:
    the reference for the closed forms of this module, at any point.
    """
    on_sphere = lambda z: flow(z / z.norm(dim=-1, keepdim=True))  # noqa: E731
    whole = torch.autograd.functional.jacobian(on_sphere, x).reshape(x.numel(), -1)
    basis = torch.block_diag(*tangent_basis(x))
    return basis.mT @ whole @ basis


@takes(
    flow=instance((SharedStepFlow, AutoregressiveFlow, MambaFlow)),
    x1=tensor("D", dtype="float64", unit=True),
    signs=tensor("L", alike=False),
)
def consensus_rate(flow: Flow, x1: Tensor, signs: Tensor) -> ConsensusRate:
    """The sharp exponential rate at which each token, and the sum over tokens, reaches consensus.

    Token l is driven by those before it that reach it through weights that are not zero: its rate
    is the slowest among theirs and its own. Where m + 1 of them share that eigenvalue and drive one
    another, the decay has the factor t^m. Both hold for all nearby initial values but a set of
    lower dimension.

    Closed forms: eq (11) with all signs 1 has ``gamma Delta e^{-a Delta}`` for all tokens, gamma =
    <x_1, S_BC x_1> and Delta = Delta(x_1), the second token's; causal attention with identity
    values has 1/2 whatever Q and K, and profile 0, 1, 2, 3, ...: token l trails the second by the
    factor l - 1.

    Args and raises: as :func:`consensus_spectrum`; also ValueError where an eigenvalue is not
        negative, so that the consensus does not attract.
    """
    blocks = _linearisation(flow, x1, signs).cpu()  # small, and taken apart entry by entry
    signs = signs.cpu()
    start = 0 if isinstance(flow, MambaFlow) else 1
    moving = blocks[:, start:, start:]
    values = moving.diagonal(dim1=-2, dim2=-1)
    if values.numel() == 0:
        raise ValueError("signs: a single token has no consensus to reach, takes L >= 2")
    if float(values.max()) >= 0:
        raise ValueError(
            f"x1, signs: the consensus does not attract, an eigenvalue is {float(values.max()):.3g}"
        )
    length = len(signs)
    rates = torch.full((length,), torch.inf, dtype=torch.float64)
    powers = torch.zeros(length, dtype=torch.int64)
    for token in range(start, length):
        size = token + 1 - start
        for slowest in values[:, :size].unique().flip(0):  # the token's own is one that it has
            power = max(_power(block[:size, :size], slowest) for block in moving)
            if power >= 0:
                rates[token], powers[token] = -slowest, power
                break
    slowest = values.max()
    block = moving[int(values.amax(-1).argmax())]
    mode = _slowest_mode(block, slowest) * signs[start:].to(block)
    lead = mode[(mode.abs() > 1e-9 * mode.abs().max()).nonzero()[0, 0]]
    profile = torch.zeros(length, dtype=torch.float64)
    profile[start:] = mode / lead
    slow = rates <= rates.min() * (1 + SAME)
    return ConsensusRate(rates, powers, float(rates.min()), int(powers[slow].max()), profile)


def _linearisation(flow: Flow, x1: Tensor, signs: Tensor) -> Tensor:
    """Lower triangular systems for the v_l: (1, L, L) if all directions share one, (D-1, L, L)."""
    check_tokens(x1, None, 1, name="x1")
    if x1.ndim != 1:
        raise ValueError(f"x1: shape {tuple(x1.shape)}, takes (D,)")
    if signs.ndim != 1 or not bool((signs.abs() == 1).all()) or not len(signs) or signs[0] != 1:
        raise ValueError(f"signs: got {signs.tolist()}, takes (L,) of 1 and -1, the first 1")
    signs = signs.to(x1)
    x = signs.unsqueeze(-1) * x1
    pairs = signs.unsqueeze(-1) * signs
    A = flow.attention(x)
    if not isinstance(flow, MambaFlow):
        if A.ndim != 2:
            raise ValueError(f"flow: its weights have shape {tuple(A.shape)}, takes one flow")
        A = A.tril(-1)
        return (A - torch.diag((pairs * A).sum(-1))).unsqueeze(0)
    if int(x1.count_nonzero()) != 1:
        raise ValueError("x1: consensus of eq (6) has a closed form at +-e_d only")
    d = int(x1.abs().argmax())
    others = [k for k in range(len(x1)) if k != d]
    drag = (pairs * A[d]).sum(-1)
    return A[others] - torch.diag(drag)


def _matrix(flow: SharedStepFlow) -> Tensor:
    if isinstance(flow.S_BC, tuple):
        S_C, S_B = flow.S_BC
        return S_C.mT @ S_B
    return flow.S_BC


def _generalised_kernel(block: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """N = block - value and an orthonormal basis of its generalised kernel, as columns."""
    same = (block.diagonal() - value).abs() <= SAME * block.abs().max()
    nilpotent = block - value * torch.eye(len(block), dtype=block.dtype)
    count = int(same.sum())
    whole = torch.linalg.matrix_power(nilpotent, max(count, 1))
    return nilpotent, torch.linalg.svd(whole).Vh[len(block) - count :].mT


def _power(block: Tensor, value: Tensor) -> int:
    """The largest p with t^p e^{value t} in the last component of e^{block t} v for generic v; -1
    if that component does not hold e^{value t} at all."""
    nilpotent, kernel = _generalised_kernel(block, value)
    row = torch.zeros(len(block), dtype=block.dtype)
    row[-1] = 1.0
    power, scale = -1, block.abs().max()
    for p in range(kernel.shape[1]):
        if float((row @ kernel).abs().max()) > 1e-8 * float(scale) ** p:
            power = p
        row = row @ nilpotent
    return power


def _slowest_mode(block: Tensor, value: Tensor) -> Tensor:
    """The eigenvector that dominates for generic v: the image of the highest power of N there."""
    nilpotent, kernel = _generalised_kernel(block, value)
    mode = kernel
    while float((nilpotent @ mode).abs().max()) > 1e-8 * float(block.abs().max()):
        mode = nilpotent @ mode
    return mode[:, int(mode.norm(dim=0).argmax())]
