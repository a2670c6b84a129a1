"""Eigenvalues of eq (11) at a consensus with signs, in closed form, and where two of them meet.

At (s_1 x_1, ..., s_L x_1) token l has the eigenvalue -gamma S_l, D - 1 times, with gamma =
<x_1, S_BC x_1>, Delta_l = softplus(s_l <alpha, x_1>) and

    S_1 = 0,    S_l = e^{-a Delta_l} (Delta_{l-1} + S_{l-1}).

With mixed signs S_l need not increase. Where the two least agree, and the later token feels the
earlier one, the decay is t e^{-rt}.
"""

import math

import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import either, instance, number, positive, takes, tensor

from ..flow import SharedStepFlow


@takes(steps=tensor("...", "L"), a=either(number(), tensor("...")))
def signed_sums(steps: Tensor, a: float | Tensor) -> Tensor:
    """S_1, ..., S_L of the recursion above: S_l = sum_{j<l} Delta_j e^{-a sum_{k=j+1}^l Delta_k}.

    Args:
        steps: (..., L), the Delta_l at the consensus.
        a: the decay, a number or (...).
    Returns:
        (..., L); the first is zero.
    """
    sums = [torch.zeros_like(steps[..., 0])]
    for token in range(1, steps.shape[-1]):
        decay = torch.exp(-a * steps[..., token])
        sums.append(decay * (steps[..., token - 1] + sums[-1]))
    return torch.stack(sums, -1)


@takes(
    flow=instance(SharedStepFlow),
    x1=tensor("D", dtype="float64", unit=True),
    signs=tensor("L", alike=False),
)
def shared_step_decay_rates(flow: SharedStepFlow, x1: Tensor, signs: Tensor) -> Tensor:
    """gamma S_l of tokens 2, ..., L of eq (11) at the consensus with these signs, (L - 1,).

    The least is the sharp rate. It is the closed form of
    :func:`tokensphere.other_tokens.consensus_spectrum`, up to the sign.

    Args:
        flow: S_BC (D, D), one flow, no batch.
        x1: (D,), unit.
        signs: (L,), entries 1 and -1, the first 1.
    """
    gamma = x1 @ flow.S_BC @ x1
    steps = softplus(signs * (flow.alpha @ x1))
    return gamma * signed_sums(steps, flow.a)[1:]


@takes(z=positive())
def equal_eigenvalues(z: float) -> float:
    """The a > 0 at which tokens 2 and 3 of eq (11), signs 1, -1, 1, have the same eigenvalue.

    S_2 = S_3 for the steps softplus(z), softplus(-z), softplus(z).

    Args:
        z: <alpha, x_1>, positive: for others there is no such a.
    Raises:
        ValueError: z that is not positive and finite.
    """
    if not (z > 0 and math.isfinite(z)):
        raise ValueError(f"z: got {z}, takes a positive number")
    steps = softplus(torch.tensor([z, -z, z], dtype=torch.float64))

    def difference(a: float) -> float:
        sums = signed_sums(steps, a)
        return float(sums[2] - sums[1])

    return brentq(difference, 1e-6, 50.0, xtol=1e-15)


@takes(z=positive(), factor=positive())
def resonant_flow(z: float = 1.0, factor: float = 1.0) -> SharedStepFlow:
    """Eq (11), D = 2, S_BC = I, alpha = (z, 0), with a = factor * equal_eigenvalues(z).

    At x_1 = e_1 with signs 1, -1, 1 the second token decides the rate for a factor below 1, the
    third for one above.

    Raises:
        ValueError: z or factor that is not positive.
    """
    if not factor > 0:
        raise ValueError(f"factor: got {factor}, takes a positive number")
    alpha = torch.tensor([z, 0.0], dtype=torch.float64)
    return SharedStepFlow(torch.eye(2, dtype=torch.float64), alpha, factor * equal_eigenvalues(z))


@takes(generator=instance(torch.Generator))
def resonant_start(generator: torch.Generator) -> Tensor:
    """Three tokens (3, 2) near the consensus of :func:`resonant_flow`: signs 1, -1, 1, x_1 = e_1.

    The second and third lie 0.2 to 0.6 radians from theirs.
    """
    angles = 0.2 + 0.4 * torch.rand(3, generator=generator, dtype=torch.float64)
    angles[0] = 0.0
    x = torch.stack([angles.cos(), angles.sin()], -1)
    return torch.tensor([[1.0], [-1.0], [1.0]], dtype=torch.float64) * x
