"""Runs towards consensus, in coordinates where the first token is e_1.

There the distance of a token from x_1 or -x_1 has floating-point exponents of its own. Integrated
with a small absolute tolerance it keeps its relative accuracy however small it is, and a rate can
be fitted over many factors of e.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import (
    each,
    either,
    flag,
    instance,
    number,
    positive,
    takes,
    tensor,
    text,
    whole,
)

from ..flow import AutoregressiveFlow, SharedStepFlow, random_tokens, simulate
from .coefficients import constant, random_families, stacked
from .spectra import consensus_rate, consensus_spectrum

TINY = 1e-120
"""Absolute tolerance of an integration where x_1 = e_1: relative accuracy is all that is left."""

APART = 0.1
"""Runs whose two slowest eigenvalues are closer than this, relatively, are left out.

At a relative distance d of them the local rate is off by d e^{-dt} or so, by 1/t if d is far below
1/t: more than 1% for as long as 100 units of time. Equal eigenvalues are a case of their own:
:mod:`tokensphere.other_tokens.resonance`.
"""


@takes(
    count=whole(1), length=whole(1), dim=whole(1), generator=instance(torch.Generator), half=flag()
)
def tokens_from_axis(
    count: int, length: int, dim: int, generator: torch.Generator, half: bool = False
) -> Tensor:
    """Tokens (count, L, D) with x_1 = e_1, the others uniform on the sphere.

    Args:
        half: uniform in the half sphere of x_1 instead.
    """
    x = random_tokens(count, length, dim, generator=generator)
    x[:, 0] = 0.0
    x[:, 0, 0] = 1.0
    return x * torch.where(x[..., :1] < 0, -1.0, 1.0) if half else x


@takes(x=tensor("...", "D", dtype="float64", unit=True), signs=either(number(), tensor("...")))
def axis_distance(x: Tensor, signs: Tensor | float = 1.0) -> Tensor:
    """|x - s e_1| for unit x (..., D), s = `signs` (...), to full relative accuracy: (...)."""
    return x[..., 1:].norm(dim=-1) * (2 / (1 + signs * x[..., 0])).sqrt()


@takes(flow=instance(SharedStepFlow))
def aligned_rate(flow: SharedStepFlow) -> Tensor:
    """The sharp rate of eq (11) if all tokens join x_1 = e_1: gamma Delta e^{-a Delta}, (...).

    gamma = <e_1, S_BC e_1> and Delta = softplus(alpha_1): the second token has it, and for every L
    none is slower. With other signs: :func:`tokensphere.other_tokens.resonance.signed_sums`.
    """
    step = softplus(flow.alpha[..., 0])
    return flow.S_BC[..., 0, 0] * step * torch.exp(-flow.a * step)


@takes(count=whole(1), dim=whole(1), generator=instance(torch.Generator), symmetric=flag())
def random_shared_step(
    count: int, dim: int, generator: torch.Generator, symmetric: bool = False
) -> SharedStepFlow:
    """Random flows of eq (11), a batch, with <e_1, S_BC e_1> > 0.

    S_BC is scaled so that consensus of all tokens at e_1 has the rate 1.

    Args:
        symmetric: whether S_BC is; the draws are those of the flow that is not.
    """
    S_BC = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64) / 2
    alpha = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    S_BC[:, 0, 0] = 1 + S_BC[:, 0, 0].abs()
    a = 0.3 + torch.rand(count, generator=generator, dtype=torch.float64)
    if symmetric:
        S_BC = (S_BC + S_BC.mT) / 2
    rate = aligned_rate(SharedStepFlow(S_BC, alpha, a))
    return SharedStepFlow(S_BC / rate[:, None, None], alpha, a)


@takes(flow=instance(SharedStepFlow))
def unbatched(flow: SharedStepFlow) -> list[SharedStepFlow]:
    """The flows of a batch, one by one."""
    parts = zip(flow.S_BC, flow.alpha, flow.a, strict=True)
    return [SharedStepFlow(*part) for part in parts]


@dataclass(frozen=True, eq=False)
class Approach:
    """One run towards the consensus (s_1 x_1, ..., s_L x_1), x_1 = e_1.

    Args:
        system: "eq (11)", or the name of a family of coefficients of eq (13).
        flow: its field; for eq (13) with the coefficients at consensus, which decide the rate.
        signs: (L,), the consensus that was reached.
        rate, power: of the sum of distances as predicted, t^power e^{-rate t}, per unit of `times`.
        unit: a unit of `times` is 1/unit of the time of the weights as drawn.
        times, error: (T,), sum_l |x_l - s_l x_1|.
    """

    system: str
    flow: SharedStepFlow | AutoregressiveFlow
    signs: Tensor
    rate: float
    power: int
    unit: float
    times: Tensor
    error: Tensor


@takes(
    flow=instance((SharedStepFlow, AutoregressiveFlow)),
    x0=tensor("L", "D", dtype="float64", unit=True),
    times=tensor("T", dtype="float64", T=2),
    rtol=positive(),
    system=text(),
)
def approach(
    flow: SharedStepFlow | AutoregressiveFlow,
    x0: Tensor,
    times: Tensor,
    rtol: float = 1e-5,
    system: str = "",
) -> Approach:
    """Follows one flow from x0 (L, D), x_1 = e_1, to the consensus that is near at the last time.

    Raises:
        ValueError: x0 with another first token; a consensus that does not attract.
    """
    axis = torch.eye(x0.shape[-1], dtype=torch.float64)[0]
    if not torch.equal(x0[0], axis):
        raise ValueError(f"x0: its first token is {x0[0].tolist()}, takes e_1")
    x = simulate(flow, x0, times, rtol, TINY).tokens
    signs = x[-1, :, 0].sign()
    predicted = consensus_rate(flow, axis, signs)
    error = axis_distance(x, signs).sum(-1)
    return Approach(system, flow, signs, predicted.rate, predicted.power, 1.0, times, error)


@takes(
    generator=instance(torch.Generator),
    count=whole(1),
    systems=each(text()),
    length=whole(2),
    dim=whole(2),
    stop=positive(),
)
def random_approaches(
    generator: torch.Generator,
    count: int,
    systems: tuple[str, ...] = ("eq (11)", "eq (13)"),
    length: int = 4,
    dim: int = 3,
    stop: float = 70.0,
) -> tuple[list[Approach], int]:
    """Runs of eq (11), `count` of them, and of each family of eq (13); and how many are left out.

    Parameters are those of :func:`random_shared_step` and :func:`random_families`, starts those of
    :func:`tokens_from_axis`. Time runs to `stop` in units of the predicted 1/rate; for eq (11) of
    that with all signs 1. Left out are runs with two close eigenvalues (APART), and those in which
    a token is still on its way to x_1 or -x_1 after half of the time: they have no asymptotic
    stretch.
    """
    axis = torch.eye(dim, dtype=torch.float64)[0]
    times = torch.linspace(0, stop, 141, dtype=torch.float64)
    batches: list[tuple[str, Tensor, Sequence[SharedStepFlow | AutoregressiveFlow], Tensor]] = []
    if "eq (11)" in systems:
        flow = random_shared_step(count, dim, generator)
        x0 = tokens_from_axis(count, length, dim, generator)
        x = simulate(flow, x0, times, 1e-5, TINY).tokens
        batches.append(("eq (11)", x, unbatched(flow), torch.ones(count)))
    if "eq (13)" in systems:
        families = random_families(count, length, dim, generator)
        consensus = axis.expand(len(families), count, length, dim)
        weights = stacked(families.values())
        rates = weights(consensus).tril(-1).sum(-1)[..., 1:].amin(-1)
        scaled = lambda x: weights(x) / rates[..., None, None]  # noqa: E731
        x0 = torch.stack([tokens_from_axis(count, length, dim, generator) for _ in families])
        x = simulate(AutoregressiveFlow(scaled), x0, times, 1e-5, TINY).tokens
        for index, (name, matrices) in enumerate(zip(families, scaled(consensus), strict=True)):
            constants = [AutoregressiveFlow(constant(matrix)) for matrix in matrices]
            batches.append((name, x[:, index], constants, rates[index]))
    runs, left_out = [], 0
    for name, x, flows, units in batches:
        for i, one in enumerate(flows):
            signs = x[-1, i, :, 0].sign()
            error = axis_distance(x[:, i], signs).sum(-1)
            slow, next_slow = consensus_spectrum(one, axis, signs)[1:, 0].abs().sort().values[:2]
            if next_slow < (1 + APART) * slow or error[len(times) // 2] > 1e-3:
                left_out += 1
                continue
            predicted = consensus_rate(one, axis, signs)
            expected = predicted.rate, predicted.power
            runs.append(Approach(name, one, signs, *expected, float(units[i]), times, error))
    return runs, left_out
