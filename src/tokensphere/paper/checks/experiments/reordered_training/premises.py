"""Section 4.2: the premises of reordering, about patches, the flow and MambaVision-T."""

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import MambaFlow, SharedStepFlow, project
from tokensphere.other_tokens.positive_angles import admissible
from tokensphere.paper.checks.tools import ends
from tokensphere.paper.ledger import Evidence, above, below, between, equal
from tokensphere.reorder import data, mambavision, order_effects, theory
from tokensphere.reorder.models import S6Mixer

from .runs import TRAINED, closeness_to_the_first, gains

BLOCKS = sum(depth for _, _, depth in mambavision.STAGES)
ORDERS = 999
OF_RANDOM = (25, ORDERS - 25)
"""Ranks among them that a random order has with probability 0.95."""


def patches_of(source: str) -> Tensor:
    """Patches of images, row by row, less the mean patch at each place: (images, tokens, values).

    "digits": 4 x 4 patches of each of scikit-learn's digits; "photographs": 14 x 14 of the two
    photographs that come with it.
    """
    if source == "digits":
        pixels, side = torch.stack([image for image, _ in data.load("digits").train]), 2
    else:
        with data.needed("photographs", "requirements.txt"):
            from sklearn.datasets import load_sample_images
        images = np.stack(load_sample_images().images)[:, :420, 110:530]
        pixels, side = torch.as_tensor(images).permute(0, 3, 1, 2), 30
    patches = torch.nn.functional.unfold(pixels.double(), side, stride=side).mT
    return patches - patches.mean((0, 1) if source == "photographs" else 0)


def raster_ranks(generator: torch.Generator) -> tuple[dict[str, int], dict]:
    """Of 999 random orders, those in which consecutive patches correlate less than row by row."""
    ranks, numbers = {}, {}
    for source in ("digits", "photographs"):
        raster, random = order_effects.raster_against_random(patches_of(source), ORDERS, generator)
        ranks[source] = int((random < raster).sum())
        numbers |= {
            f"{source}: correlation of consecutive patches, row by row": raster,
            f"{source}: its mean over random orders": float(random.mean()),
            f"{source}: its deviation": float(random.std()),
        }
    return ranks, numbers


def order_means_nothing(generator: torch.Generator) -> Evidence:
    """The raster order cannot be told from a random one, at 5%."""
    ranks, numbers = raster_ranks(generator)
    return Evidence(
        [between(f"rank of 999, {name}", rank, *OF_RANDOM) for name, rank in ranks.items()], numbers
    )


def order_has_neighbours(generator: torch.Generator) -> Evidence:
    """It can be told: above all random orders in photographs, at the lower end in digits."""
    ranks, numbers = raster_ranks(generator)
    raster, random = order_effects.adjacent_shares(14)
    gain = gains(TRAINED)["s6-small"]
    return Evidence(
        [
            below("rank of 999, digits", ranks["digits"], OF_RANDOM[0]),
            equal("rank of 999, photographs", ranks["photographs"], ORDERS),
            equal("side by side on a 14 x 14 grid, row by row", str(raster), "14/15"),
            equal("side by side, mean order", str(random), "2/105"),
            below("S6 classifier, CIFAR-10: upper bound of the gain as trained", gain.high, 0),
        ],
        numbers,
    )


def dominated(generator: torch.Generator, equations: list[str]) -> Evidence:
    """Tokens near e_1, e_2, e_3, and with the first one moved near e_2: at t = 60 all are at the
    first one's limit, up to sign, in just these equations; in others they stay apart, the third at
    e_3 wherever the first is. S_BC = I; S_Delta = I and a_d = 2, or alpha = 0 and a = 1/2."""
    eye = torch.eye(3, dtype=torch.float64)
    noise = 0.05 * torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    x0 = torch.stack([eye, eye[[1, 1, 2]]]) + noise.abs()
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    flows = {
        "eq (6)": MambaFlow(eye, eye, torch.full((3,), 2.0, dtype=torch.float64)),
        "eq (11)": SharedStepFlow(eye, torch.zeros(3, dtype=torch.float64), 0.5),
    }
    criteria = []
    for name, flow in flows.items():
        end = ends(flow, x0, 60, 1e-5, 1e-7)
        least = float((end[:, 1:] * end[:, :1]).sum(-1).abs().min())
        what = f"least modulus of a cosine with the first, {name}"
        if name in equations:
            criteria.append(above(what, least, 0.99))
        else:
            third = float(end[:, 2, 2].min())
            criteria += [below(what, least, 0.2), above(f"third token at e_3, {name}", third, 0.95)]
    return Evidence(criteria)


def mixed_stages(generator: torch.Generator) -> tuple[float, float]:
    """Eq (11) up to t = 1, then attention among all tokens for 12: as MambaVision's last stages.

    The largest distance of a token from the first at the end, and the least distance of the first
    from its start, over the mean distance of the others from it at the start; 12 starts.
    """
    flow, x0 = admissible(generator, 12, 4, 3)
    matrices = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)

    def attention(x: Tensor, t: Tensor | float) -> Tensor:
        scores = (x @ matrices[0].mT) @ (x @ matrices[1].mT).mT
        return project(x, scores.softmax(-1) @ x)

    x = ends(attention, ends(flow, x0, 1), 12)
    apart = (x - x[:, :1]).norm(dim=-1).max()
    others = (x0[:, 1:] - x0[:, :1]).norm(dim=-1).mean(-1)
    away = ((x[:, 0] - x0[:, 0]).norm(dim=-1) / others).min()
    return float(apart), float(away)


def first_attracts(generator: torch.Generator) -> Evidence:
    """Tokens come to the first one read; trained mixers bring them at least half of the way."""
    _, away = mixed_stages(generator)
    before, after = closeness_to_the_first()
    return Evidence(
        [
            below("toy flow: distance of the end from the first's start", away, 1e-3),
            below("CIFAR-10: closeness before stage 4, over that after it", before / after, 0.5),
        ]
    )


def all_attract(generator: torch.Generator) -> Evidence:
    """They come together elsewhere; most of the closeness is there before the trained mixers."""
    apart, away = mixed_stages(generator)
    before, after = closeness_to_the_first()
    return Evidence(
        [
            below("toy flow: largest distance between tokens at the end", apart, 1e-2),
            above("toy flow: distance of the end from the first's start", away, 0.05),
            above("CIFAR-10: closeness before stage 4, over that after it", before / after, 0.75),
            equal("S6 mixers of MambaVision-T's blocks", [mambavision.mixers(), BLOCKS], [6, 16]),
        ],
        {"closeness before and after stage 4, mean cosine": [before, after]},
    )


def without_the_first(generator: torch.Generator, little: bool) -> Evidence:
    """An S6 mixer's output changes when all tokens but the first are permuted: by little of what
    permuting all changes, or by most of it."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        mixer = S6Mixer(16, 8).double()
    x = torch.randn(8, 49, 16, generator=generator, dtype=torch.float64)
    orders = (
        theory.fresh_orders(1, 8, 49, generator)[0],
        order_effects.orders_after_the_first(8, 49, generator),
    )
    whole, later = (order_effects.output_change(mixer, x, order) for order in orders)
    what = "change without moving the first, over the whole"
    share = below(what, later / whole, 0.1) if little else above(what, later / whole, 0.5)
    return Evidence([share], {"all permuted": whole})
