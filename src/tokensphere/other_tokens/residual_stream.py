"""Long-time laws of the residual stream, dz/dt = layer(z / |z|): the limit of pre-norm layers.

Token l runs by a clock of its own, ds = dt / r_l with r_l = |z_l|. Where q = <e_d, S_BC e_d> > 0,
streams near s e_d grow like t, and what is exponential in s becomes a power of t. At zeros of the
form a first token's stream has a limit, and what is exponential in s is so in t.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import one_of, takes, tensor, whole

from ..first_token.zeros import inflow
from ..flow.checks import check_rates, check_square


@takes(
    S_BC=tensor("...", "D", "D", dtype="float64"),
    S_Delta=tensor("...", "D", "D", dtype="float64"),
    a=tensor("...", "D", dtype="float64", above=0.0),
)
def layer_bound(S_BC: Tensor, S_Delta: Tensor, a: Tensor) -> Tensor:
    """|S_BC| |(softplus |S_{Delta,d}| + 1/a_d)_d|: no output of the layer at unit tokens is longer,
    whatever their number. So norms in a stream grow by no more than this for each unit of depth.

    Args:
        S_BC, S_Delta: (..., D, D), float64. a: (..., D), positive.
    Returns:
        (...).
    Raises:
        ValueError: other shapes or dtypes, rates that are not positive.
    """
    for name, value in {"S_BC": S_BC, "S_Delta": S_Delta}.items():
        check_square(name, value)
    check_rates("a", a)
    longest = softplus(S_Delta.norm(dim=-2)) + 1 / a
    return torch.linalg.matrix_norm(S_BC, 2) * longest.norm(dim=-1)


@takes(
    S_Delta=tensor("D", "D", dtype="float64"),
    a=tensor("D", dtype="float64", above=0.0),
    index=whole(0),
    length=whole(1),
    sign=one_of(1, -1, 1.0, -1.0),
)
def vertex_exponents(
    S_Delta: Tensor, a: Tensor, index: int, length: int, sign: float = 1.0
) -> Tensor:
    """rho: token l's component x_{lk}, k != d, decays by itself as t^-rho[l, k] at s e_d, q > 0.

        rho[l, k] = 1 - Delta_k / (Delta_d G_l),    G_l = sum_{i<l} exp(-a_d i Delta_d),

    with the steps at s e_d, when all tokens are near it. G_1 = 1: a first token has 1 - Delta_k /
    Delta_d, which S_BC does not enter. Later tokens have larger ones, but follow the first token's
    component, where that is not zero, as the slower one.

    Args:
        S_Delta: (D, D), float64. a: (D,), positive. index: d, from 0. length: L. sign: s.
    Returns:
        (L, D - 1), columns k in order without d.
    Raises:
        ValueError: other shapes or dtypes, rates that are not positive, an index out of range.
    """
    dim = check_square("S_Delta", S_Delta)
    check_rates("a", a)
    if not 0 <= index < dim:
        raise ValueError(f"index: got {index}, takes 0 to {dim - 1}")
    steps = softplus(sign * S_Delta[index])
    lags = torch.arange(length, dtype=torch.float64, device=S_Delta.device)
    sums = torch.exp(-a[index] * steps[index] * lags).cumsum(0)
    others = torch.arange(dim, device=S_Delta.device) != index
    return 1 - steps[others] / (steps[index] * sums.unsqueeze(-1))


@takes(
    S_BC=tensor("D", "D", dtype="float64"),
    S_Delta=tensor("D", "D", dtype="float64"),
    p=tensor("n", "D", dtype="float64", unit=True),
    norm=tensor("n", dtype="float64", above=0.0),
)
def zero_rate(S_BC: Tensor, S_Delta: Tensor, p: Tensor, norm: Tensor) -> Tensor:
    """|kappa(p)| / r: the rate at which a first token's direction approaches a zero of the form.

    Args:
        S_BC, S_Delta: (D, D). p: (n, D), zeros of the form with kappa < 0 (see
            :func:`tokensphere.first_token.zeros.inflow`). norm: (n,), limits of |z|.
    Raises:
        ValueError: as :func:`~tokensphere.first_token.zeros.inflow`; a kappa that is not negative,
            where p attracts nothing; norms that are not positive.
    """
    kappa, _ = inflow(S_BC, S_Delta, p)
    check_rates("norm", norm)
    if (kappa >= 0).any():
        raise ValueError(f"p: kappa is {float(kappa.max()):g}, takes zeros with kappa < 0")
    return -kappa / norm


@takes(
    times=tensor("T", dtype="float64", above=0.0, T=2), values=tensor("T", "...", dtype="float64")
)
def fitted_exponents(times: Tensor, values: Tensor) -> Tensor:
    """p of values ~ times^-p by least squares in logarithms, to hold against predicted exponents.

    Args:
        times: (T,), positive, late: a transient of relative size t^-s shows as an error of that
            order. values: (T, ...), positive; an exponent is NaN where one is zero.
    Returns:
        (...).
    Raises:
        ValueError: less than two times, or times that are not positive.
    """
    if len(times) < 2 or not float(times.min()) > 0:
        raise ValueError(f"times: got {times.tolist()}, takes two or more that are positive")
    clock = times.log() - times.log().mean()
    return -torch.tensordot(clock, values.log(), 1) / clock.square().sum()
