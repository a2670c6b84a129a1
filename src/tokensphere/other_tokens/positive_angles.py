"""Positive angles: starts from which all tokens provably converge to the first, and how fast.

Proposition 3.6 of the paper on token dynamics on spheres asks for positive interactions U_ij =
<x_i, S_BC x_j> at the start. Under eq (11), whose weights are a_ij U_ij with a_ij > 0, they then
stay positive, their least does not decrease, and with c = min U_ij(0), gamma = U_11, for t >= 0,

    1 + X_i1 >= eta = (gamma + c)^2 / (2 |S_BC x_1|^2),
    1 - X_i1 <= 2 (1 + K t)^(i-2) e^(-p t) for i >= 2,  p = a_low c eta,  K = a_high |S_BC|,

where a_low <= a_ij <= a_high; S_BC need not be symmetric. The book proves this in its chapter on
positive angles. The sharp rate is that of :func:`tokensphere.other_tokens.consensus_rate`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import at_least, flag, instance, number, one_of, takes, tensor, whole

from ..flow import SharedStepFlow, random_tokens
from ..flow.checks import check_tensor
from .interactions import interactions, token_with_interactions

__all__ = [
    "CONDITIONS",
    "AlignmentBounds",
    "admissible",
    "alignment_bounds",
    "margin",
    "one_pair",
    "second_token_rate",
]

CONDITIONS = ("all", "off diagonal", "below", "first")
"""Which U_ij are to be positive: every one; U_11 and those with j != i, or j < i; the U_i1."""

BATCH = 4000
"""Draws at a time."""

PATIENCE = 100
"""Batches without one admissible draw after which :func:`admissible` gives up."""


@takes(
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    S_BC=tensor("...", "D", "D", dtype="float64"),
    condition=one_of(*CONDITIONS),
)
def margin(x: Tensor, S_BC: Tensor, condition: str = "all") -> Tensor:
    """The least of the U_ij = <x_i, S_BC x_j> that a condition asks to be positive, (...).

    "all" is the paper's condition and enough for any S_BC; "below", U_11 and the U_ij with j < i,
    is enough for a symmetric one, and "off diagonal", U_11 and the U_ij with j != i, for any one
    and up to three tokens; "first", the U_i1, is not enough.

    Args:
        x: tokens (..., L, D), unit rows.
        S_BC: (..., D, D).
        condition: one of CONDITIONS.
    Raises:
        ValueError: another condition, or as :func:`tokensphere.other_tokens.interactions`.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition: got {condition!r}, takes one of {', '.join(CONDITIONS)}")
    U = interactions(x, S_BC)[1]
    asked = torch.ones(U.shape[-2:], dtype=torch.bool)
    if condition == "below":
        asked = asked.tril(-1)
    if condition == "off diagonal":
        asked.fill_diagonal_(False)
    if condition == "first":
        asked[:, 1:] = False
    asked[0, 0] = True
    return U[..., asked].amin(-1)


@takes(
    generator=instance(torch.Generator),
    count=whole(1),
    length=whole(1),
    dim=whole(1),
    symmetric=flag(),
    condition=one_of(*CONDITIONS),
    least=at_least(0.0),
)
def admissible(
    generator: torch.Generator,
    count: int,
    length: int,
    dim: int,
    symmetric: bool = True,
    condition: str = "all",
    least: float = 0.02,
) -> tuple[SharedStepFlow, Tensor]:
    """Random flows and starts whose margin is above `least`, by rejection; U_11 > 0.3.

    S_BC is Gaussian, scaled to Frobenius norm 1, alpha Gaussian with deviation 1/2, a uniform on
    [1/5, 6/5]. Signs of S_BC and of tokens are turned so that the U_i1 are positive; then draws are
    kept or thrown away. At last S_BC is scaled again, so that consensus is approached at the rate
    U_11 Delta e^{-a Delta} = 1, Delta that of x_1, and all draws need equal times: `least` and 0.3
    are before this scaling.

    Args:
        generator: of the draws.
        count: how many flows and starts.
        length: tokens of each.
        dim: D.
        symmetric: whether S_BC is.
        condition: as in :func:`margin`.
        least: of the margin. Few draws have a large one, and fewer the more tokens there are.
    Returns:
        A flow with parameters (count, D, D), (count, D), (count,), and tokens (count, L, D).
    Raises:
        ValueError: PATIENCE batches of BATCH draws without an admissible one; or as margin.
    """
    parts: list[list[Tensor]] = []
    tried = found = 0
    while found < count:
        S_BC = torch.randn(BATCH, dim, dim, generator=generator, dtype=torch.float64)
        if symmetric:
            S_BC = (S_BC + S_BC.mT) / 2
        S_BC = S_BC / torch.linalg.matrix_norm(S_BC)[:, None, None]  # Frobenius: fast
        x = random_tokens(BATCH, length, dim, generator=generator)
        S_BC = S_BC * interactions(x, S_BC)[1][:, :1, :1].sign()
        x = x * interactions(x, S_BC)[1][:, :, :1].sign()
        alpha = torch.randn(BATCH, dim, generator=generator, dtype=torch.float64) / 2
        a = 0.2 + torch.rand(BATCH, generator=generator, dtype=torch.float64)
        gamma = interactions(x, S_BC)[1][:, 0, 0]
        kept = (margin(x, S_BC, condition) > least) & (gamma > 0.3)
        parts.append([values[kept] for values in (S_BC, alpha, a, x)])
        tried, found = tried + 1, found + int(kept.sum())
        if not found and tried == PATIENCE:
            raise ValueError(
                f"least: none of {tried * BATCH} draws of {length} tokens in {dim} dimensions has "
                f"a margin above {least:g}; takes less, or fewer tokens"
            )
    S_BC, alpha, a, x = (torch.cat(column)[:count] for column in zip(*parts, strict=True))
    step = softplus((x[:, 0] * alpha).sum(-1))
    rate = interactions(x, S_BC)[1][:, 0, 0] * step * torch.exp(-a * step)
    return SharedStepFlow(S_BC / rate[:, None, None], alpha, a), x


@dataclass(frozen=True)
class AlignmentBounds:
    """The explicit constants of an admissible start, (...) each.

    Attributes:
        c: the least U_ij(0), and a lower bound of all U_ij(t).
        eta: a lower bound of 1 + X_i1(t).
        p: a rate of convergence, per unit of time; far from sharp.
        K: by which the bound's polynomial grows, per unit of time.
    """

    c: Tensor
    eta: Tensor
    p: Tensor
    K: Tensor

    def distance(self, times: Tensor, length: int) -> Tensor:
        """Upper bounds of 1 - X_i1 for i = 1, ..., `length` at `times` (T,): (T, ..., L).

        2 (1 + K t)^(i-2) e^(-p t) for i >= 2, and 0 for i = 1.
        """
        t = times.reshape(-1, *[1] * (self.p.ndim + 1))
        powers = torch.arange(-1, length - 1, dtype=torch.float64)
        bound = 2 * (1 + self.K[..., None] * t) ** powers * torch.exp(-self.p[..., None] * t)
        return torch.where(powers < 0, 0.0, bound)


@takes(flow=instance(SharedStepFlow), x0=tensor("...", "L", "D", dtype="float64", unit=True))
def alignment_bounds(flow: SharedStepFlow, x0: Tensor) -> AlignmentBounds:
    """The constants of the explicit bound for starts x0 (..., L, D) whose U_ij are positive.

    The weights a_ij of the flow are bounded over the whole sphere: softplus(-|alpha|) e^{-a (L-1)
    softplus(|alpha|)} <= a_ij <= softplus(|alpha|).

    Raises:
        ValueError: a start with a U_ij <= 0, or as :func:`margin`.
    """
    c = margin(x0, flow.S_BC)
    if (c <= 0).any():
        raise ValueError(f"x0: holds a U_ij of {float(c.min()):g}, takes positive ones only")
    first = x0[..., 0, :]
    image = (flow.S_BC @ first[..., None])[..., 0]
    gamma = (image * first).sum(-1)
    eta = (gamma + c) ** 2 / (2 * image.norm(dim=-1) ** 2)
    size = flow.alpha.norm(dim=-1)
    shortest, longest = softplus(-size), softplus(size)
    a = torch.as_tensor(flow.a, dtype=x0.dtype)
    lowest = shortest * torch.exp(-a * (x0.shape[-2] - 1) * longest)
    return AlignmentBounds(
        c, eta, lowest * c * eta, longest * torch.linalg.matrix_norm(flow.S_BC, 2)
    )


@takes(flow=instance(SharedStepFlow), x0=tensor("...", "L", "D", dtype="float64", unit=True, L=2))
def second_token_rate(flow: SharedStepFlow, x0: Tensor) -> Tensor:
    """kappa, (...): 1 - X_21(t) <= (1 - X_21(0)) e^(-kappa t), for any S_BC; Proposition B.15.

    kappa = min a_21 min(gamma, U_21(0)) (1 + X_21(0)), a_21 being bounded over the whole sphere
    from below by Delta(x_1) e^{-a softplus(|alpha|)}. In the proof 1 + sup X_21 stands for
    1 + X_21(0), which bounds nothing from the side needed.

    Args:
        flow: eq (11).
        x0: (..., L, D) with L >= 2; tokens after the second do not matter.
    Raises:
        ValueError: fewer than two tokens, gamma <= 0 or U_21(0) <= 0.
    """
    check_tensor("x0", x0, 2)
    if x0.shape[-2] < 2:
        raise ValueError(f"x0: shape {tuple(x0.shape)}, takes (..., L, D) with L of 2 or more")
    X, U = interactions(x0[..., :2, :], flow.S_BC)
    least = U[..., 0].amin(-1)
    if (least <= 0).any():
        raise ValueError(f"x0: holds a U_11 or U_21 of {float(least.min()):g}, takes positive ones")
    longest = softplus(flow.alpha.norm(dim=-1))
    a = torch.as_tensor(flow.a, dtype=x0.dtype)
    lowest = softplus((x0[..., 0, :] * flow.alpha).sum(-1)) * torch.exp(-a * longest)
    return lowest * least * (1 + X[..., 1, 0])


@takes(i=whole(2, 4), j=whole(1, 3), value=number())
def one_pair(i: int, j: int, value: float = -1.0) -> tuple[SharedStepFlow, Tensor]:
    """A start of i tokens, 1 <= j < i <= 4: U_ij = U_ji of the sign of `value`, others positive.

    S_BC = I in R^4, alpha = 0, a = 1. For a negative value the last token ends at -x_1: none of
    these pairs can be left out of the condition of Proposition 3.6. The interactions of the last
    token with others than j are 0.05 / |value| of that with j, in modulus.

    Returns:
        The flow, and tokens (i, 4).
    Raises:
        ValueError: other i and j, or value = 0.
    """
    if not 1 <= j < i <= 4 or value == 0:
        raise ValueError(f"i, j, value: got {i}, {j}, {value:g}, takes 1 <= j < i <= 4, value != 0")
    basis = torch.eye(4, dtype=torch.float64)
    others = [basis[0] + basis[k] for k in range(1, i - 1)]
    earlier = torch.stack([basis[0], *(vector / vector.norm() for vector in others)])
    row = torch.full((i - 1,), 0.05, dtype=torch.float64)
    row[j - 1] = value
    last = token_with_interactions(earlier, basis, row, 0.5 if i == 2 else 0.0)
    flow = SharedStepFlow(basis, torch.zeros(4, dtype=torch.float64), 1.0)
    return flow, torch.cat([earlier, last[None]])
