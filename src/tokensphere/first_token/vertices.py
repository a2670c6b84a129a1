"""Which coordinate vectors attract first tokens: read off the rows of S_Delta.

At s e_d, s = 1 or -1, the eigenvalues of eq (9)'s Jacobian on the tangent space are

    S_BC[d, d] (softplus(s S_Delta[d, k]) - softplus(s S_Delta[d, d])),    k != d.

So if S_BC[d, d] > 0, e_d is asymptotically stable if and only if S_Delta[d, d] is the strict
maximum of row d, and -e_d if and only if it is the strict minimum; the other way round if
S_BC[d, d] < 0. If S_BC[d, d] = 0 all eigenvalues vanish and decide nothing.
"""

import numpy as np
import torch
from scipy.stats import binom, chisquare
from torch import Tensor
from torch.nn.functional import softplus

from tokensphere.door import share, takes, tensor, whole


@takes(
    S_BC=tensor("*B", "D", "D", dtype="float64"), S_Delta=tensor("*B", "D", "D", dtype="float64")
)
def vertex_eigenvalues(S_BC: Tensor, S_Delta: Tensor) -> Tensor:
    """The eigenvalues at e_1 .. e_D, -e_1 .. -e_D, (..., 2 D, D - 1), all real.

    Args:
        S_BC, S_Delta: (..., D, D), float64; columns of S_Delta are S_{Delta,d}.
    Raises:
        ValueError: another shape or dtype, entries that are not finite.
    """
    dim = S_Delta.shape[-1]
    rows = torch.cat([S_Delta, -S_Delta], dim=-2)  # row d: the inner products at e_d, at -e_d
    own = S_Delta.diagonal(dim1=-2, dim2=-1)
    own = torch.cat([own, -own], dim=-1).unsqueeze(-1)
    factor = S_BC.diagonal(dim1=-2, dim2=-1).repeat(*[1] * (S_BC.ndim - 2), 2).unsqueeze(-1)
    values = factor * (softplus(rows) - softplus(own))
    others = ~torch.eye(dim, dtype=torch.bool, device=S_Delta.device).repeat(2, 1)
    return values[..., others].reshape(*values.shape[:-1], dim - 1)


@takes(
    S_BC=tensor("*B", "D", "D", dtype="float64"), S_Delta=tensor("*B", "D", "D", dtype="float64")
)
def stable_vertices(S_BC: Tensor, S_Delta: Tensor) -> Tensor:
    """Which of e_1 .. e_D, -e_1 .. -e_D have negative eigenvalues only, (..., 2 D), bool.

    Where S_BC[d, d] is not zero these are the asymptotically stable ones. Where it is, the answer
    is False, though e_d may attract, algebraically, if S_BC's symmetric part is semidefinite and
    e_d spans its kernel.

    Args and raises: as :func:`vertex_eigenvalues`.
    """
    own = S_Delta.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    others = ~torch.eye(S_Delta.shape[-1], dtype=torch.bool, device=S_Delta.device)
    # Not by differences of softplus, which underflow where entries are very negative.
    largest = ((S_Delta < own) | ~others).all(-1)
    smallest = ((S_Delta > own) | ~others).all(-1)
    diagonal = S_BC.diagonal(dim1=-2, dim2=-1)
    positive, negative = diagonal > 0, diagonal < 0
    plus = (positive & largest) | (negative & smallest)
    minus = (positive & smallest) | (negative & largest)
    return torch.cat([plus, minus], dim=-1)


@takes(counts=tensor("n", kinds="i"), trials=whole(1), probability=share())
def binomial_p_value(counts: Tensor, trials: int, probability: float) -> float:
    """Pearson's p-value for `counts`, (n,) integers, being draws of Binomial(trials, probability).

    Cells with fewer than five expected are joined to the last one that has more.

    Raises:
        ValueError: counts outside 0 .. trials, or too few for two cells.
    """
    if counts.min() < 0 or counts.max() > trials:
        span = int(counts.min()), int(counts.max())
        raise ValueError(f"counts: from {span[0]} to {span[1]}, takes 0 to {trials}")
    expected = len(counts) * binom.pmf(np.arange(trials + 1), trials, probability)
    observed = np.bincount(counts.numpy(), minlength=trials + 1).astype(float)
    filled = np.nonzero(expected >= 5)[0]
    if len(filled) < 2:
        raise ValueError(f"counts: got {len(counts)}, too few for two cells of five expected")
    last = int(filled.max())
    joined = [np.append(cells[:last], cells[last:].sum()) for cells in (observed, expected)]
    return float(chisquare(*joined).pvalue)
