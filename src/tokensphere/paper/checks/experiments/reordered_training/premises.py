"""Section 4.2: the premises of reordering, about patches, the flow and MambaVision-T."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from tokensphere.flow import MambaFlow, SharedStepFlow, project, simulate
from tokensphere.paper.ledger import Evidence
from tokensphere.reorder import data
from tokensphere.reorder.theory import fresh_orders

from .positive_angles import admissible
from .reordered_training import STAGES


def adjacent_pairs(side: int) -> tuple[Fraction, Fraction]:
    """Share of consecutive tokens that are side by side: in raster order, in the mean order."""
    tokens = side * side
    raster = Fraction(side * (side - 1), tokens - 1)
    return raster, Fraction(2 * side * (side - 1) * 2, tokens * (tokens - 1))


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


def _raster(generator: torch.Generator, stated: bool) -> Evidence:
    """Correlation of consecutive patches, in raster order and in 999 random ones.

    Stated: the raster order cannot be told from a random one, at 5%. Corrected: it can, for digits
    and photographs, and consecutive patches of photographs are more alike.
    """
    numbers: dict = {}
    ranks = {}
    for source in ("digits", "photographs"):
        patches = patches_of(source)
        length = patches.shape[1]
        similarity = torch.einsum("nid,njd->ij", patches, patches) / patches.square().sum() * length
        random = fresh_orders(1, 999, length, generator)[0]
        orders = torch.cat([torch.arange(length)[None], random])
        values = similarity[orders[:, 1:], orders[:, :-1]].mean(-1)
        ranks[source] = int((values[1:] < values[0]).sum())
        numbers |= {
            f"{source}: correlation of consecutive patches, raster order": float(values[0]),
            f"{source}: mean and deviation of random orders": [
                float(values[1:].mean()),
                float(values[1:].std()),
            ],
            f"{source}: share of 999 random orders below the raster order": ranks[source] / 999,
        }
    shares = adjacent_pairs(14)
    numbers["side by side, 14 x 14 tokens: raster, random"] = [float(share) for share in shares]
    if stated:
        return Evidence(all(25 <= rank <= 974 for rank in ranks.values()), numbers)
    told = all(not 25 <= rank <= 974 for rank in ranks.values())
    exact = shares == (Fraction(182, 195), Fraction(364, 19110))
    return Evidence(told and ranks["photographs"] == 999 and exact, numbers)


def dominated(generator: torch.Generator, stated: bool) -> Evidence:
    """Tokens near e_1, e_2, e_3, and the first one moved near e_2; t = 60.

    Stated: in eq (6) all end at the first one's limit, up to sign. Corrected: they do in eq (11);
    in eq (6) with S_BC = S_Delta = I and a_d = 2 the third ends at e_3 both times.
    """
    eye = torch.eye(3, dtype=torch.float64)
    noise = 0.05 * torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    x0 = torch.stack([eye, eye[[1, 1, 2]]]) + noise.abs()
    x0 = x0 / x0.norm(dim=-1, keepdim=True)
    times = torch.tensor([0.0, 60.0], dtype=torch.float64)
    flows = {
        "eq (6)": MambaFlow(eye, eye, torch.full((3,), 2.0, dtype=torch.float64)),
        "eq (11)": SharedStepFlow(eye, torch.zeros(3, dtype=torch.float64), 0.5),
    }
    numbers: dict = {}
    joins, third = {}, {}
    for name, flow in flows.items():
        end = simulate(flow, x0, times, 1e-5, 1e-7).tokens[-1]
        joins[name] = float((end[:, 1:] * end[:, :1]).sum(-1).abs().min())
        third[name] = float(end[:, 2, 2].min())
        numbers[f"{name}: least |cos| of a token with the first"] = joins[name]
        numbers[f"{name}: third token along e_3"] = third[name]
    if stated:
        return Evidence(joins["eq (6)"] > 0.99, numbers)
    passed = joins["eq (11)"] > 0.99 and joins["eq (6)"] < 0.2 and third["eq (6)"] > 0.95
    return Evidence(passed, numbers)


def mixed(generator: torch.Generator, stated: bool) -> Evidence:
    """Eq (11) for half of the time, then attention among all tokens: MambaVision's last stages.

    Stated: all tokens come to the first one read. Corrected: they come together elsewhere.
    """
    flow, x0 = admissible(generator, 12, 4, 3)
    matrices = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    half = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x = simulate(flow, x0, half, 1e-6, 1e-9).tokens[-1]

    def attention(x: Tensor, t: Tensor | float) -> Tensor:
        scores = (x @ matrices[0].mT) @ (x @ matrices[1].mT).mT
        return project(x, scores.softmax(-1) @ x)

    x = simulate(attention, x, 12 * half, 1e-6, 1e-9).tokens[-1]
    apart = float((x - x[:, :1]).norm(dim=-1).max())
    away = ((x[:, 0] - x0[:, 0]).norm(dim=-1) / (x0[:, 1:] - x0[:, :1]).norm(dim=-1).mean(-1)).min()
    mixers = [depth // 2 for kind, _, depth in STAGES if kind == "tokens"]
    numbers = {
        "blocks of MambaVision-T": sum(depth for _, _, depth in STAGES),
        "of which S6": sum(mixers),
        "largest distance between tokens at the end": apart,
        "least distance from the first one's start over the mean distance of the others": float(
            away
        ),
    }
    if stated:
        return Evidence(float(away) < 1e-3, numbers)
    return Evidence(apart < 1e-2 and float(away) > 0.05, numbers)
