"""Claims about the tokens after the first, sections 3.2 and B.2."""

import torch
from torch.nn.functional import softplus

from ..flow import MambaFlow, SharedStepFlow, random_tokens
from . import Claim, Evidence


def _coefficients_agree(generator: torch.Generator, step_of: str) -> Evidence:
    """Eq (8) under assumption (10), against eq (12) with the step of the query or of the key."""
    dim, length, a = 4, 6, 0.7
    S_BC = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    alpha = torch.randn(dim, generator=generator, dtype=torch.float64)
    x = random_tokens(length, dim, generator=generator)
    full = MambaFlow(S_BC, alpha[:, None].expand(dim, dim), torch.full_like(alpha, a))
    equation_8 = full.attention(x)[0]
    steps = softplus(x @ alpha)
    front = steps[:, None] if step_of == "query" else steps[None, :]
    elapsed = steps.cumsum(0)
    decay = torch.exp(-a * (elapsed[:, None] - elapsed[None, :]))
    equation_12 = ((x @ S_BC @ x.mT) * front * decay).tril()
    difference = float((equation_12 - equation_8).abs().max())
    in_library = float((SharedStepFlow(S_BC, alpha, a).attention(x) - equation_8).abs().max())
    # Rounding of sums of a few steps.
    return Evidence(
        difference < 1e-12,
        {
            "largest difference from eq (8)": difference,
            "largest coefficient": float(equation_8.abs().max()),
            "library's difference from eq (8)": in_library,
        },
    )


CLAIMS = [
    Claim(
        id="eq-12",
        where="eq (12), section 3.2, and eq (25), appendix B.2",
        statement=(
            "When all channels share the step vector $\\alpha$ and the rate $a$, the coefficients "
            "of eq (8) become $A_{lj} = x_l^\\top S_{BC} x_j \\, \\Delta(x_l) \\, "
            "e^{-a \\sum_{k=j+1}^{l} \\Delta(x_k)}$."
        ),
        verdict="corrected",
        correction=(
            "The step in front is the key's, $\\Delta(x_j)$, as in eqs (5) and (8); "
            "the two agree only for $l = j$."
        ),
        chapter="other-tokens/pair_interactions",
        stated=lambda generator: _coefficients_agree(generator, "query"),
        corrected=lambda generator: _coefficients_agree(generator, "key"),
        remains=(
            "Both are positive multiples of $x_l^\\top S_{BC} x_j$, so the theorems that use only "
            "the sign survive; rates and constants do not."
        ),
    ),
]
