"""Where the later tokens of many sequences are at the end of a run, and in how many clusters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokensphere.door import array, flag, instance, positive, takes, tensor, whole

from ..first_token.alignment import definite_form, largest_coordinate
from ..flow import MambaFlow, random_tokens, simulate
from ..flow.fields import OnSphere

__all__ = [
    "ENDS",
    "Census",
    "census",
    "count_clusters",
    "random_sign_steps",
    "shares_by_end",
    "token_ends",
]

ENDS = ("at the first token", "at its antipode", "at another vertex", "elsewhere", "still moving")
"""Where a later token is. Vertices are the coordinate vectors and their antipodes."""


@dataclass(frozen=True, eq=False)
class Census:
    """What `count` sequences do by the end of a run.

    Args:
        x: (count, L, D), the tokens there.
        ends: (count, L - 1), for each later token its index in ENDS.
        clusters: by how many of the first tokens are looked at, 2, 4, 8, ..., the mean number of
            clusters that they form.
    """

    x: Tensor
    ends: Tensor
    clusters: dict[int, float]

    @property
    def joins(self) -> Tensor:
        """Which later tokens are at the first one or its antipode, (count, L - 1), bool."""
        return self.ends < 2

    def shares(self) -> dict[str, float]:
        """The share of the later tokens by ENDS."""
        return {end: float((self.ends == index).double().mean()) for index, end in enumerate(ENDS)}

    def share_that_joins(self) -> tuple[float, float]:
        """Mean share of the later tokens that join, and its standard error over sequences."""
        share = self.joins.double().mean(-1)
        return float(share.mean()), float(share.std() / len(share) ** 0.5)


@takes(
    flow=instance(OnSphere),
    x0=tensor("n", "L", "D", dtype="float64", unit=True),
    stop=positive(),
    rtol=positive(),
    atol=positive(),
)
def census(
    flow: OnSphere, x0: Tensor, stop: float = 100.0, rtol: float = 1e-5, atol: float = 1e-7
) -> Census:
    """Follows x0 (count, L, D), a sequence for each of the flow's batch, to time `stop`."""
    times = torch.tensor([0.0, stop], dtype=torch.float64)
    x = simulate(flow, x0, times, rtol=rtol, atol=atol).tokens[-1]
    sizes = [2**power for power in range(1, int(math.log2(x.shape[-2])) + 1)]
    clusters = {size: float(count_clusters(x[:, :size]).double().mean()) for size in sizes}
    return Census(x, token_ends(flow, x), clusters)


@takes(
    flow=instance(OnSphere),
    x=tensor("...", "L", "D", dtype="float64", unit=True),
    near=positive(),
    slow=positive(),
)
def token_ends(flow: OnSphere, x: Tensor, near: float = 0.01, slow: float = 1e-4) -> Tensor:
    """For each later token of x (..., L, D) its index in ENDS, (..., L - 1).

    At a place is within `near` of it; the first place in the order of ENDS counts. Elsewhere is
    slower than `slow`.
    """
    first, later = x[..., :1, :], x[..., 1:, :]
    found = torch.where(flow(x)[..., 1:, :].norm(dim=-1) < slow, 3, 4)
    for index, place in ((2, largest_coordinate(later)), (1, -first), (0, first)):
        found[(later - place).norm(dim=-1) < near] = index
    return found


def shares_by_end(table: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, float]:
    """Shares of later tokens by how they end, from counts by how the first token ends.

    Args:
        table: as :func:`tokensphere.paper.survey.later_tokens` gives: for each end of the first
            token and each end of the later ones a histogram, entry k the number of sequences of
            whose later tokens k end so.
    Raises:
        ValueError: no sequence.
    """
    counted: dict[str, int] = {}
    for histograms in table.values():
        for end, histogram in histograms.items():
            tokens = sum(k * number for k, number in enumerate(histogram))
            counted[end] = counted.get(end, 0) + tokens
    total = sum(counted.values())
    if not total:
        raise ValueError("table: holds no sequence")
    return {end: tokens / total for end, tokens in counted.items()}


@takes(x=tensor("...", "L", "D", dtype="float64"), size=positive())
def count_clusters(x: Tensor, size: float = 0.05) -> Tensor:
    """The number of clusters of the tokens x (..., L, D), (...) integers.

    Two tokens are in one cluster if a chain of tokens leads from one to the other in steps shorter
    than `size`.
    """
    linked = (torch.cdist(x, x) < size).double()
    for _ in range(max(1, math.ceil(math.log2(x.shape[-2])))):
        linked = ((linked @ linked) > 0).double()
    return (1 / linked.sum(-1)).sum(-1).round().long()


@takes(
    count=whole(1),
    dim=whole(1),
    length=whole(1),
    generator=instance(torch.Generator),
    rates=array(2),
    definite=flag(),
)
def random_sign_steps(
    count: int,
    dim: int,
    length: int,
    generator: torch.Generator,
    rates: tuple[float, float] = (0.5, 1.5),
    definite: bool = False,
) -> tuple[MambaFlow, Tensor]:
    """Random models and tokens under the hypotheses of Theorem 3.2, (flow, x0 (count, L, D)).

    S_Delta = diag(sign x_1(0)); S_BC is I, or symmetric with eigenvalues in [1, 2] if `definite`;
    the a_d are independent and uniform between the two `rates`, the tokens uniform on the sphere.

    Raises:
        ValueError: rates that are not positive, or not in order.
    """
    low, high = rates
    if not 0 < low <= high:
        raise ValueError(f"rates: got {rates}, takes two positive numbers in order")
    x0 = random_tokens(count, length, dim, generator=generator)
    if definite:
        S_BC = definite_form(count, dim, generator)
        S_BC = (S_BC + S_BC.mT) / 2
    else:
        S_BC = torch.eye(dim, dtype=torch.float64).expand(count, dim, dim)
    a = low + (high - low) * torch.rand(count, dim, generator=generator, dtype=torch.float64)
    return MambaFlow(S_BC, torch.diag_embed(x0[:, 0].sign()), a), x0
