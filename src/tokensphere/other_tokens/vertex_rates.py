"""Rates at which tokens of eq (6) approach consensus at a coordinate vector: points and runs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokensphere.door import array, instance, positive, takes, whole

from ..flow import MambaFlow, project, random_tokens, simulate
from .spectra import consensus_rate, consensus_spectrum
from .vertices import consensus_attracts, sign_patterns

__all__ = ["VertexConsensus", "approach_vertices", "random_vertex_consensus"]

APART = 1.25
"""Points whose two slowest eigenvalues are closer than this factor are left out: a window cannot
tell their mixture from a single exponential."""

STIFF = 20.0
"""Points whose spectrum is wider than this factor are left out: they attract from nearby only."""


@dataclass(frozen=True, eq=False)
class VertexConsensus:
    """Attracting points (s_l x_1) of eq (6), n of them, x_1 = e_d or -e_d.

    Args:
        flow: a batch of n, each with the rate 1 at its point.
        x: (n, L, D), the points.
        rate: (n,), the slowest eigenvalue before S_BC was scaled, with its sign turned.
        first: (n,), the same for the first token alone.
        equal: (n,), whether all signs are equal and S_dd > 0.
    """

    flow: MambaFlow
    x: Tensor
    rate: Tensor
    first: Tensor
    equal: Tensor


@takes(
    flow=instance(MambaFlow), count=whole(1), length=whole(1), generator=instance(torch.Generator)
)
def random_vertex_consensus(
    flow: MambaFlow, count: int, length: int, generator: torch.Generator
) -> VertexConsensus:
    """`count` attracting points, at most one for each flow of the batch; every other one has equal
    signs and S_dd > 0, or one more if `count` is odd.

    Left out are spectra wider than STIFF and those with slowest eigenvalues closer than APART.

    Args:
        flow: a batch (m, ...) with constant parameters, S_BC a tensor; m several times `count`.
        length: L, of the sequences.
    Raises:
        ValueError: the batch has fewer points than that.
    """
    dim, patterns = flow.a.shape[-1], sign_patterns(length)
    attracts = consensus_attracts(flow, patterns)
    rows: list[tuple[Any, ...]] = []
    for index, found in enumerate(attracts):
        if len(rows) == count:
            break
        wants_equal = len(rows) % 2 == 0
        places = [
            (d, side, pattern)
            for d, side, pattern in found.nonzero().tolist()
            if (pattern == 0 and float(flow.S_BC[index, d, d]) > 0) == wants_equal
        ]
        if not places:
            continue
        d, side, pattern = places[int(torch.randint(len(places), (), generator=generator))]
        x1 = torch.zeros(dim, dtype=torch.float64)
        x1[d] = 1.0 - 2 * side
        one, signs = _one(flow, index), patterns[pattern]
        spectrum = consensus_spectrum(one, x1, signs)
        order = spectrum.flatten().sort().values
        if order[0] < STIFF * order[-1] or order[-2] > APART * order[-1]:
            continue
        slowest = consensus_rate(one, x1, signs).rate
        scaled = (one.S_BC / slowest, one.S_Delta, one.a)
        x = signs.unsqueeze(-1) * x1
        rows.append((*scaled, x, slowest, -float(spectrum[0].max()), wants_equal))
    if len(rows) < count:
        raise ValueError(f"flow: a batch of {len(attracts)} has {len(rows)} points, not {count}")
    *tensors, rate, first, equal = zip(*rows, strict=True)
    S_BC, S_Delta, a, x = (torch.stack(part) for part in tensors)
    speed, alone = (torch.tensor(part, dtype=torch.float64) for part in (rate, first))
    return VertexConsensus(MambaFlow(S_BC, S_Delta, a), x, speed, alone, torch.tensor(equal))


@takes(
    points=instance(VertexConsensus),
    generator=instance(torch.Generator),
    distance=positive(),
    window=array(2, least=0.0),
)
def approach_vertices(
    points: VertexConsensus,
    generator: torch.Generator,
    distance: float = 0.001,
    window: tuple[float, float] = (15.0, 30.0),
) -> tuple[Tensor, Tensor]:
    """Runs that start at random within about `distance` of each point: times (T,) in the `window`
    and, there, the sum of the tokens' distances to the point, (T, n).

    Times are in units of one over the predicted rate, so that all runs share the window: rates
    fitted to them are to be multiplied by ``points.rate``.
    """
    noise = project(points.x, random_tokens(*points.x.shape, generator=generator))
    x0 = points.x + distance * noise
    times = torch.linspace(0, window[1], 61, dtype=torch.float64)
    x = simulate(points.flow, x0 / x0.norm(dim=-1, keepdim=True), times, 1e-6, 1e-22).tokens
    # Without the part along the goal, whose rounding would be a floor.
    error = project(points.x, x).norm(dim=-1).sum(-1)
    late = times >= window[0]
    return times[late], error[late]


def _one(flow: MambaFlow, index: int) -> MambaFlow:
    return MambaFlow(flow.S_BC[index], flow.S_Delta[index], flow.a[index])
