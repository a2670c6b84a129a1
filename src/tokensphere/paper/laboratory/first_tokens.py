"""Presets of the sphere: first tokens, eq (9)."""

import torch

from tokensphere.first_token.cycles import rock_paper_scissors
from tokensphere.flow import random_tokens
from tokensphere.paper import survey
from tokensphere.paper.figures.landing import SEED

from .preset import Preset, gaussian, generator, rows, unit

MOST = 32
"""So many tokens has a sequence on the bench."""

EYE = torch.eye(3, dtype=torch.float64)


def alone(S_BC, S_Delta, x, until: float, clock: str = "linear", a=(1, 1, 1)) -> dict:
    """Every token for itself, as a first token."""
    return state(S_BC, S_Delta, a, x, until, clock) | {"alone": True}


def state(S_BC, S_Delta, a, x, until: float, clock: str = "linear") -> dict:
    """A sequence of tokens."""
    numbers = {"S_BC": S_BC, "S_Delta": S_Delta, "a": a, "x": x}
    return {name: rows(value) for name, value in numbers.items()} | {
        "alone": False,
        "until": until,
        "clock": clock,
    }


def presets() -> list[Preset]:
    return [*pictures(), *equilibria(), *alignment(), *stability()]


def pictures() -> list[Preset]:
    """The landing page's, and those of the chapter on simulations."""
    draw = generator(1)  # the chapter's seed, and its order of draws
    S_BC, S_Delta, _ = (value[0] for value in survey.draw("Gaussian", 3, 1, draw))
    first = random_tokens(100, 3, generator=draw)[:MOST]
    landing = generator(SEED)
    forms = torch.randn(2, 3, 3, generator=landing, dtype=torch.float64)
    starts = random_tokens(MOST, 3, generator=landing)
    return [
        Preset(
            "first-page",
            "sphere",
            "The picture of the first page",
            "First tokens under one Gaussian draw: some end at coordinate vectors, the others "
            "stop on the dashed curves, the zeros of the form.",
            ("setting/simulations#prop-zeros", "setting/flow#prop-first"),
            alone(*forms, starts, 1e3, "logarithmic"),
        ),
        Preset(
            "figure-1a-identity",
            "sphere",
            "Figure 1 (a): first tokens, S_BC = I",
            "A definite form: first tokens reach a few points, coordinate vectors and others of "
            "equal steps.",
            ("setting/simulations#fig-panels", "setting/simulations#obs-23"),
            alone(EYE, S_Delta, first, 40),
        ),
        Preset(
            "figure-1a-gaussian",
            "sphere",
            "Figure 1 (a): first tokens, S_BC Gaussian",
            "An indefinite form: most first tokens stop at a zero of the form, each at a point of "
            "its own. So limits are not a discrete set.",
            ("setting/simulations#fig-turn-first", "setting/flow#thm-long-zero"),
            alone(S_BC, S_Delta, first, 40),
        ),
    ]


def equilibria() -> list[Preset]:
    draw = generator(3)  # the chapter's seed
    S_Delta, S_BC = (torch.randn(3, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    values = torch.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    S_BC = S_BC - (values[0] + values[-1]) / 2 * EYE
    starts = random_tokens(16, 3, generator=draw)
    page = "first-token/equilibria"
    return [
        Preset(
            "fourteen-equilibria",
            "sphere",
            "Fourteen equilibria, not two",
            "Type 1 is said to come down to two points. For this draw, as for almost every one, "
            "there are 14: 4 stable, 6 saddles, 4 unstable.",
            (
                f"{page}#fig-equilibria-portraits",
                f"{page}#prop-equilibria-printed",
                f"{page}#thm-equilibria-printed",
                f"{page}#thm-equilibria",
                f"{page}#thm-count",
                f"{page}#prop-antipodes",
            ),
            alone(EYE, S_Delta, starts, 60),
        ),
        Preset(
            "fourteen-equilibria-indefinite",
            "sphere",
            "The same steps, an indefinite form",
            "The marked points are the same. Beyond the dashed zeros of the form tokens follow the "
            "same orbits the other way, and stable and unstable are exchanged.",
            (f"{page}#fig-equilibria-turn", f"{page}#prop-type-2"),
            alone(S_BC, S_Delta, starts, 60),
        ),
        Preset(
            "printed-set",
            "sphere",
            "Counterexample: in the printed set, and moving",
            "The paper's Proposition 3.1 has (0, 3, 4)/5 at rest: it moves. The second token, "
            "(1, 1, 1)/√3, is not in the printed set and rests.",
            (f"{page}#prop-printed-set",),
            alone(EYE, EYE, unit([[0, 3, 4], [1, 1, 1]]), 40),
        ),
        Preset(
            "circle-of-equilibria",
            "sphere",
            "Counterexample: independent columns, a circle at rest",
            "The columns of S_Delta are independent, and yet type 1 has infinitely many points: "
            "they agree after restriction to their support.",
            (f"{page}#thm-count",),
            alone(EYE, [[1, 1, 0], [0, 0, 1], [0, 1, 0]], starts[:12], 60),
        ),
        Preset(
            "low-rank",
            "sphere",
            "Steps of low rank: a circle of equilibria",
            "A matrix of rank 1, as Mamba's are of low rank: a whole great circle rests.",
            (f"{page}#rem-low-rank",),
            alone(EYE, torch.outer(*unit([[1, -2, 2], [2, 1, -1]])) * 2, starts[:12], 60),
        ),
    ]


def alignment() -> list[Preset]:
    page = "first-token/alignment"
    form = torch.tensor([[1.4, 0.3, -0.2], [0.3, 1.1, 0.2], [-0.2, 0.2, 1.6]]).double()
    start = unit([[1, -2, 2.5]])
    signs = torch.diag_embed(start.sign())[0]
    many = random_tokens(24, 3, generator=generator(5))
    return [
        Preset(
            "largest-modulus",
            "sphere",
            "Theorem 3.2: the largest modulus wins",
            "A positive definite form, and steps that follow the signs of the start: the token "
            "goes to the coordinate vector of its largest modulus, at the rate S_dd ln((1+e)/2).",
            (f"{page}#thm-align", f"{page}#thm-align-rate", f"{page}#lem-align-order"),
            alone(form, signs, start, 40),
        ),
        Preset(
            "tie-of-moduli",
            "sphere",
            "A tie in Theorem 3.2",
            "Two moduli are equal and largest: the limit is between two axes, a saddle that "
            "nothing but a tie reaches.",
            (f"{page}#thm-align",),
            alone(EYE, EYE, [[2 / 3, 2 / 3, 1 / 3]], 60),
        ),
        Preset(
            "steps-do-not-know",
            "sphere",
            "Steps that do not know the start, S_Delta = I",
            "One matrix for all tokens: half of them go elsewhere than the theorem says, and the "
            "octant of negative coordinates to a levelled point.",
            (f"{page}#fig-align-map", f"{page}#thm-align-diagonal"),
            alone(EYE, EYE, many, 60),
        ),
        Preset(
            "levelled",
            "sphere",
            "Remark B.6: independent columns, moduli become equal",
            "The signs of Theorem 3.2 turned round: columns are independent as before, and the "
            "moduli become equal.",
            (f"{page}#rem-align-b6",),
            alone(form, -signs, start, 60),
        ),
        Preset(
            "algebraic",
            "sphere",
            "Diagonal steps (0, -1, -2): a decay like 1/t",
            "The largest u_i is zero: the other entries decay like 1/t, and no exponential rate "
            "exists.",
            (f"{page}#thm-align-diagonal",),
            alone(EYE, torch.diag(torch.tensor([0.0, -1.0, -2.0])), [[2 / 3, 2 / 3, 1 / 3]], 1000,
                  "logarithmic"),
        ),
        Preset(
            "indefinite-stops",
            "sphere",
            "An indefinite form stops the token on its way",
            "The form is diag(1, 1, -1): the token runs towards e_3 and stops where the form is "
            "zero.",
            (f"{page}#thm-align-diagonal",),
            alone(torch.diag(torch.tensor([1.0, 1.0, -1.0])), EYE, unit([[0.5, 0.45, 0.6]]), 60),
        ),
    ]  # fmt: skip


def stability() -> list[Preset]:
    page = "first-token/stability"
    S_Delta = gaussian(3, 3, seed=4)
    starts = random_tokens(16, 3, generator=generator(4))
    chase = unit([[1.0, 1.1, 1.3]])
    zero = torch.diag(torch.tensor([0.0, 0.0, 1.0]))
    rows_of_maxima = torch.tensor([[1.5, 0.2, -0.4], [0.1, 1.2, 0.3], [-0.5, 0.4, 1.0]]).double()
    slow = 0.5 * rock_paper_scissors(0.1, 1.0)
    return [
        Preset(
            "portrait-identity",
            "sphere",
            "A phase portrait, S_BC = I",
            "Fourteen equilibria of type 1 and the orbits between them.",
            (f"{page}#prop-stab-spectrum", f"{page}#prop-stab-antipodes"),
            alone(EYE, S_Delta, starts, 150),
        ),
        Preset(
            "portrait-indefinite",
            "sphere",
            "A phase portrait, an indefinite form",
            "1 on the diagonal of the form and -0.6 off it: along parts of the dashed curves "
            "zeros of the form attract.",
            (f"{page}#fig-stab-portrait", f"{page}#thm-stab-zeros"),
            alone(1.6 * EYE - 0.6, S_Delta, starts, 150),
        ),
        Preset(
            "stable-vertices",
            "sphere",
            "Which coordinate vectors are stable",
            "In each row of S_Delta the diagonal entry is the largest: e_1, e_2, e_3 are stable, "
            "their antipodes unstable.",
            (f"{page}#thm-stab-vertices",),
            alone(EYE, rows_of_maxima, starts, 60),
        ),
        Preset(
            "zero-on-the-diagonal",
            "sphere",
            "A coordinate vector that is not stable, and attracts almost all",
            "S = diag(0, 0, 1): almost all tokens near e_1 tend to it, algebraically; those with "
            "a third coordinate of zero rest.",
            (f"{page}#prop-stab-vertices-zero",),
            alone(zero, rows_of_maxima, unit([[1, 0.2, 0.2], [1, 0.3, 0], [1, -0.2, 0.3]]), 1e4,
                  "logarithmic"),
        ),
        Preset(
            "potential",
            "sphere",
            "A potential: symmetric steps",
            "A symmetric S_Delta has a potential on the octants of one sign: every limit point "
            "there is an equilibrium.",
            (f"{page}#thm-stab-potential", f"{page}#thm-stab-orthants"),
            alone(EYE, S_Delta + S_Delta.mT, abs(starts), 60),
        ),
        Preset(
            "limit-cycle",
            "sphere",
            "A limit cycle: three steps that chase one another",
            "The form is definite, and no limit point is an equilibrium: every first token inside "
            "the octant tends to a periodic orbit.",
            (
                f"{page}#thm-stab-cycle",
                f"{page}#rem-stab-paper",
                "setting/simulations#fig-turn-cycle",
            ),
            alone(EYE, rock_paper_scissors(0.1), unit([[0.5, 0.6, 0.7]]), 100),
        ),
        Preset(
            "heteroclinic-cycle",
            "sphere",
            "A heteroclinic cycle",
            "The same with 0.5 on the diagonal: the token comes ever closer to three coordinate "
            "vectors in turn, and stays longer at each.",
            (f"{page}#thm-stab-cycle", f"{page}#fig-stab-never"),
            alone(EYE, rock_paper_scissors(0.5), chase, 60),
        ),
        Preset(
            "replicator",
            "sphere",
            "A replicator equation, small steps",
            "Small steps: first tokens move as strategies of rock, paper and scissors do in the "
            "replicator equation.",
            (f"{page}#thm-stab-embedding",),
            alone(EYE, slow, chase, 400),
        ),
    ]  # fmt: skip
