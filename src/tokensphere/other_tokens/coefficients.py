"""Families of coefficients a_lj of eq (13), dx_l/dt = sum_{j<l} a_lj(x) P_{x_l}(x_j).

Each is a function of tokens (..., L, D) that returns weights (..., L, L), as
:class:`tokensphere.flow.AutoregressiveFlow` takes it; causal attention with the identity as value
matrix is :func:`tokensphere.flow.causal_attention`. The field reads j < l only.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from tokensphere.door import at_least, instance, takes, tensor, whole

from ..flow import causal_attention
from ..flow.checks import check_square, check_tensor

Coefficients = Callable[[Tensor], Tensor]


@takes(weights=tensor("...", "L", "L", dtype="float64"))
def constant(weights: Tensor) -> Coefficients:
    """Coefficients that do not depend on the tokens.

    Args:
        weights: (..., L, L), float64.
    Raises:
        ValueError: weights that are not square, of another dtype, or not finite.
    """
    check_square("weights", weights)
    return lambda x: weights.expand(*x.shape[:-2], *weights.shape[-2:])


@takes(kernel=tensor("...", "J", dtype="float64"))
def toeplitz(kernel: Tensor) -> Coefficients:
    """Weights that depend on the lag alone: a_lj = kernel[l - j - 1] for j < l, else zero.

    An autoregressive series AR(p) has p weights that are not zero.

    Args:
        kernel: (..., L - 1), float64, of the lags 1, ..., L - 1.
    Raises:
        ValueError: a kernel of another dtype, empty, or not finite.
    """
    check_tensor("kernel", kernel, 1)
    positions = torch.arange(kernel.shape[-1] + 1)
    lags = positions[:, None] - positions
    return constant(kernel[..., (lags - 1).clamp(min=0)].masked_fill(lags < 1, 0.0))


@takes(
    c_b=tensor("...", "N", dtype="float64"),
    decay=tensor("...", "N", dtype="float64"),
    length=whole(2),
)
def state_space(c_b: Tensor, decay: Tensor, length: int) -> Coefficients:
    """A linear state space model with a diagonal state matrix: a_lj = sum_n c_n b_n A_n^(l-j).

    Args:
        c_b: (..., N), the products c_n b_n. Positive ones and positive decays give positive
            weights.
        decay: (..., N), the A_n.
        length: the number of tokens L.
    Raises:
        ValueError: arguments of another dtype or not finite; fewer than two tokens.
    """
    check_tensor("c_b", c_b, 1)
    check_tensor("decay", decay, 1)
    if length < 2:
        raise ValueError(f"length: got {length}, takes 2 or more")
    lags = torch.arange(1, length, dtype=torch.float64)
    return toeplitz((c_b.unsqueeze(-1) * decay.unsqueeze(-1) ** lags).sum(-2))


@takes(bias=tensor("...", "L", "L", dtype="float64"), form=tensor("...", "D", "D", dtype="float64"))
def log_bilinear(bias: Tensor, form: Tensor) -> Coefficients:
    """Positive analytic weights that depend on the tokens: a_lj = exp(bias_lj + <x_l, form x_j>).

    On the sphere they are at least exp(bias_lj - |form|), |.| the operator norm.

    Args:
        bias: (..., L, L), float64.
        form: (..., D, D), float64.
    Raises:
        ValueError: arguments that are not square, of another dtype, or not finite.
    """
    check_square("bias", bias)
    check_square("form", form)
    return lambda x: torch.exp(bias + x @ form @ x.mT)


def stacked(families: Iterable[Coefficients]) -> Coefficients:
    """Several families in one integration: part i of tokens (n, ..., L, D) has the weights i."""
    each = tuple(families)

    def weights(x: Tensor) -> Tensor:
        return torch.stack([family(part) for family, part in zip(each, x, strict=True)])

    return weights


@takes(length=whole(1), dim=whole(1), generator=instance(torch.Generator), scale=at_least(0.0))
def random_log_bilinear(
    length: int, dim: int, generator: torch.Generator, *batch: int, scale: float = 0.4
) -> Coefficients:
    """:func:`log_bilinear` with Gaussian entries of standard deviation `scale`."""
    bias = torch.randn(*batch, length, length, generator=generator, dtype=torch.float64)
    form = torch.randn(*batch, dim, dim, generator=generator, dtype=torch.float64)
    return log_bilinear(scale * bias, scale * form)


@takes(count=whole(1), length=whole(2), dim=whole(1), generator=instance(torch.Generator))
def random_families(
    count: int, length: int, dim: int, generator: torch.Generator
) -> dict[str, Coefficients]:
    """Random coefficients of eq (13) by name, each a batch of `count`.

    Causal attention; a linear state space model with three states; an autoregressive series with a
    window of two, zero weights beyond it; and general weights that depend on the tokens. Those of
    the series apart, all are positive.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    window = torch.zeros(count, length - 1, dtype=torch.float64)
    window[:, :2] = (0.4 * normal(2)).exp()[:, : length - 1]
    return {
        "causal attention": causal_attention(0.5 * normal(dim, dim), 0.5 * normal(dim, dim)),
        "state space": state_space(
            (0.4 * normal(3)).exp(), 0.3 + 0.6 * torch.sigmoid(normal(3)), length
        ),
        "AR(2)": toeplitz(window),
        "general": random_log_bilinear(length, dim, generator, count),
    }
