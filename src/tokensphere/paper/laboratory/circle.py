"""Presets of the circle: first tokens for D = 2."""

import torch
from torch import Tensor

from tokensphere.circle import KINDS, gaussian_shares

from .preset import Preset, gaussian, rows

PAGE = "first-token/circle"
THREE_QUARTERS = 0.75
"""The share of uniform starts that end at a coordinate vector, for a definite form: a theorem."""


def state(S_BC, S_Delta, starts=(), draws: str = "none") -> dict:
    """starts: angles of first tokens. draws: of what the counts are, "none", "definite" (forms and
    steps at random, the form definite), "Gaussian", or "starts" (these parameters)."""
    return {"S_BC": rows(S_BC), "S_Delta": rows(S_Delta), "starts": list(starts), "draws": draws}


def expected() -> dict[str, dict[str, float]]:
    """Proved shares of first tokens by kind of limit, for each law that the counts draw from."""
    definite = (THREE_QUARTERS, 1 - THREE_QUARTERS, 0.0)
    return {
        "definite": dict(zip(KINDS, definite, strict=True)),
        "Gaussian": {kind: float(share) for kind, share in gaussian_shares().items()},
    }


def presets() -> list[Preset]:
    form, steps = tensor([[1, 0], [0, -1 / 2]]), tensor([[1, 1 / 3], [0, 2]])
    turned = tensor([[0.6, -0.8], [0.8, 0.6]])
    eight = [0.3 + 0.785 * k for k in range(8)]
    definite, S_Delta = [[1.5, 0.4], [0.4, 1.0]], gaussian(2, 2, seed=1)
    small = [[1, 0], [0.3, 0]]
    return [
        Preset(
            "other-angle",
            "circle",
            "Counterexample: the limit is at another angle than printed",
            "From the direction (1, 1) the first token ends at 54.7 degrees, a zero of the form; "
            "the paper's formula has 35.3 degrees, where it moves.",
            (f"{PAGE}#thm-circle-printed", f"{PAGE}#thm-circle", f"{PAGE}#prop-circle-speed"),
            state(form, steps, [0.785]),
        ),
        Preset(
            "other-angle-turned",
            "circle",
            "The same form and steps, in turned axes",
            "The form and the steps are turned, the axes are not: the shares of the circle change. "
            "So a diagonal form is a restriction.",
            (f"{PAGE}#rem-circle-diagonal",),
            state(turned @ form @ turned.mT, turned @ steps, [0.785 + 0.927]),
        ),
        Preset(
            "three-quarters",
            "circle",
            "A definite form: three quarters, and a quarter that is not seen",
            "Of uniform starts three quarters end at a coordinate vector, exactly, whatever the "
            "steps. Run the counts.",
            (f"{PAGE}#prop-circle-quarter", f"{PAGE}#rem-circle-34"),
            state(definite, S_Delta, eight, "definite"),
        ),
        Preset(
            "gaussian-shares",
            "circle",
            "Gaussian parameters: nearly half end elsewhere",
            "Expected shares of first tokens by kind of limit, over Gaussian forms and steps.",
            (f"{PAGE}#prop-circle-gaussian", f"{PAGE}#fig-circle-shares"),
            state(gaussian(2, 2, seed=3), gaussian(2, 2, seed=4), eight, "Gaussian"),
        ),
        Preset(
            "portrait",
            "circle",
            "Ten equilibria",
            "A coordinate vector attracts or repels, and its antipode does the opposite; so with "
            "the other lines.",
            (f"{PAGE}#prop-circle-antipodes", f"{PAGE}#fig-circle-portraits"),
            state([[1, 0.9], [0.9, -0.3]], [[0.8, -0.5], [0.2, 1.1]], eight),
        ),
        Preset(
            "double-zero",
            "circle",
            "A double zero of the form: like 1/t",
            "The form is semidefinite: at its zero it does not change sign, one side attracts, and "
            "the approach is algebraic.",
            (f"{PAGE}#prop-circle-rates",),
            state([[1, 1], [1, 1]], steps, [1.2, 3.0]),
        ),
        Preset(
            "no-stable-vertex",
            "circle",
            "Zeros on the diagonal: no coordinate vector is stable",
            "The form 2 y_1 y_2 is zero at all four coordinate vectors: one side of each departs.",
            ("first-token/stability#prop-stab-vertices-zero",),
            state([[0, 1], [1, 0]], small, eight),
        ),
        Preset(
            "algebraic-vertex",
            "circle",
            "A zero on the diagonal, semidefinite: an algebraic approach",
            "With diag(0, 1) e_1 attracts as if the form were positive there, but algebraically.",
            ("first-token/stability#prop-stab-vertices-zero",),
            state([[0, 0], [0, 1]], small, [0.9, 2.5]),
        ),
        Preset(
            "looks-definite",
            "circle",
            "Positive eigenvalues, an indefinite form",
            "The matrix (1, 5; 0, 1) has the eigenvalue 1 twice, and its form both signs.",
            ("first-token/equilibria#prop-type-2",),
            state([[1, 5], [0, 1]], steps, eight),
        ),
        Preset(
            "all-at-rest",
            "circle",
            "A skew form: everything rests",
            "Only the symmetric part of the matrix counts for a first token, and here it is zero.",
            (f"{PAGE}#rem-circle-diagonal",),
            state([[0, 1], [-1, 0]], steps, [0.785]),
        ),
    ]


def tensor(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
