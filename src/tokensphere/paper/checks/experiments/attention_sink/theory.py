"""What is said to make a sink and to show one: the aligned limit, the flow, depth, maps."""

import flint
import torch
from scipy.stats import spearmanr

from tokensphere import records
from tokensphere.flow import MambaFlow, random_tokens, simulate
from tokensphere.paper import survey
from tokensphere.paper.checks.tools import times
from tokensphere.paper.experiments import sinks as experiment
from tokensphere.paper.ledger import Evidence, above, at_least, below, equal
from tokensphere.sinks import nulls
from tokensphere.sinks.scores import attention_map, importance

from .scores import EPSILON, LENGTH, aligned_layer, layer_of

UNIFORM = float(nulls.uniform_importance(LENGTH)[0])

PUBLISHED_PARAMETERS = 7.27e9
"""Of Falcon-Mamba-7B as its model card gives it, tiiuae/falcon-mamba-7b on the Hugging Face hub."""


def random_limit(generator: torch.Generator):
    """Rates (200, 1) log-uniform from 0.001 to 30 and positive gains, one state a channel."""
    draws = torch.rand(200, 1, generator=generator, dtype=torch.float64)
    gain = torch.randn(200, 1, generator=generator, dtype=torch.float64).exp()
    return 1e-3 * (3e4**draws), gain


def limit_dominates(generator: torch.Generator) -> Evidence:
    """In every channel the first has the largest raw importance, or more than uniform."""
    layer = aligned_layer(*random_limit(generator))
    raw, share = importance(layer)[0], importance(layer, "absolute")[0, :, 0]
    largest = int((raw.argmax(-1) == 0).sum())
    over = int((share > UNIFORM).sum())
    return Evidence(
        [equal("channels with either", max(largest, over), len(raw))],
        {"with the largest raw score": largest, "with more than the uniform share": over},
    )


def limit_is_below(generator: torch.Generator) -> Evidence:
    """Raw importance rises or is negative, by the sign of the gain, and shares are below uniform;
    what the limit lacks makes a sink: a larger first step, or states of both signs."""
    rate, gain = random_limit(generator)
    layer = aligned_layer(rate, gain)
    raw, share = importance(layer)[0], importance(layer, "absolute")[0, :, 0]
    rise = raw.diff(dim=-1) / raw[:, :1]
    turned = importance(aligned_layer(rate, -gain))[0]
    off = float((raw / nulls.lag_importance(rate[:, 0], gain[:, 0], LENGTH) - 1).abs().max())
    slow = layer.select((rate[:, 0] < 0.1).nonzero()[:, 0])
    delta = slow.delta.clone()
    delta[..., 0] *= 10.0
    larger = importance(layer_of(delta, *slow.tensors[1:]), "absolute")[0, :, 0]
    decays, signs = torch.tensor([[[0.999, 0.9]], [[1.0, -1.0]]], dtype=torch.float64)
    mixed = importance(aligned_layer(-decays.log(), signs))[0, 0]
    largest = float(share.max())
    return Evidence(
        [
            above("least rise of raw importance, over the first token's", float(rise.min()), 0),
            below("largest raw importance with negative gains", float(turned.max()), 0),
            below("largest share of the first token, over the uniform", largest, UNIFORM),
            # 1 - e^{-r} at r = 1e-3 costs three digits in the scan's 16 sums.
            below("largest relative difference from the closed form", off, 1e-9),
            above("least share with ten times the first step", float(larger.min()), UNIFORM),
            equal("position of the largest of 0.999^m - 0.9^m", int(mixed.argmax()) + 1, 1),
        ],
        {"channels": len(raw), "of rates below 0.1": len(larger)},
    )


COSINE, LARGEST, OVER = (
    "mean |cos| with the first",
    "draws, largest raw score",
    "draws, over uniform",
)

DRAWS = 100


def flow_scores(generator: torch.Generator) -> list[dict[str, float]]:
    """Eq (6) with positive definite forms from 100 draws of random tokens, D = 5, at t = 0, 10."""
    dim = 5
    draw = torch.randn(2, DRAWS, dim, dim, generator=generator, dtype=torch.float64)
    S_BC = (draw[0] - draw[0].mT) / 2 + 2 * torch.eye(dim, dtype=torch.float64)
    a = 0.1 + 0.9 * torch.rand(DRAWS, dim, generator=generator, dtype=torch.float64)
    flow = MambaFlow(S_BC, draw[1], a)
    x = random_tokens(DRAWS, LENGTH, dim, generator=generator)
    queries = torch.arange(LENGTH, 0, -1)
    found = []
    # Scores are compared to a hundredth: no need of more digits.
    for tokens in simulate(flow, x, times(10.0, 2), 1e-4, 1e-6).tokens:
        M = flow.attention(tokens)
        alpha = M.sum(-2) / queries
        shares = (M.abs() / M.abs().sum(-1, keepdim=True)).sum(-2) / queries
        share = shares[..., 0].mean(1)
        found.append(
            {
                COSINE: float((tokens[:, 1:] @ tokens[:, 0, :, None]).abs().mean()),
                "raw sink rate": float((alpha[..., 0] > float(EPSILON)).double().mean()),
                "mean share of the first token": float(share.mean()),
                LARGEST: int((alpha.mean(1).argmax(-1) == 0).sum()),
                OVER: int((share > UNIFORM).sum()),
            }
        )
    return found


def flow_dominates(generator: torch.Generator) -> Evidence:
    """At t = 10 the first has the largest raw score, a mean over channels, and more than the
    uniform share, in most draws."""
    _, late = flow_scores(generator)
    return Evidence(
        [above(name, late[name], DRAWS / 2) for name in (LARGEST, OVER)], {"draws": DRAWS, **late}
    )


def flow_aligns_without(generator: torch.Generator) -> Evidence:
    """Tokens come to the axis of the first; either happens in one draw of eight at most."""
    early, late = flow_scores(generator)
    upper = {name: survey.interval(late[name], DRAWS)[1] for name in (LARGEST, OVER)}
    return Evidence(
        [
            above("rise of the mean cosine's modulus", late[COSINE] - early[COSINE], 0.2),
            *(below(f"{name}, upper 95% bound", bound, 1 / 8) for name, bound in upper.items()),
        ],
        {"draws": DRAWS, "uniform share": UNIFORM, "t = 0": early, "t = 10": late},
    )


# Figure 3 (a), on the two models of the record.


def record_by_depth() -> dict[str, dict[str, list[float]]]:
    """For each model and direction of the record, by layer: the first token's scores."""
    record = records.load(records.path("attention_sinks.json"), parameters=experiment.FULL)
    found: dict[str, dict[str, list[float]]] = {}
    for name, run in record.data.items():
        for row in run["scores"]["layers"]:
            direction = found.setdefault(f"{name}{', backward' if row['reverse'] else ''}", {})
            scores = {
                "raw rate": row["rates"]["raw"]["after_threshold"]["mean"][0],
                "raw score": row["scores"]["raw"]["mean"][0],
                "raw score of shuffled tokens": row["nulls"]["shuffled"]["raw"]["score"]["mean"],
                "share": row["scores"]["absolute"]["mean"][0],
            }
            for score, value in scores.items():
                direction.setdefault(score, []).append(value)
    return found


def rises_steadily(generator: torch.Generator) -> Evidence:
    """The sink rate of the first token, eq (35), is larger in each layer than in the one before."""
    criteria = []
    for name, scores in record_by_depth().items():
        rate = torch.tensor(scores["raw rate"])
        rises = int((rate.diff() > 0).sum())
        criteria.append(equal(f"{name}: layers with a larger rate", rises, len(rate) - 1))
    return Evidence(criteria)


def raw_rises_with_scale(generator: torch.Generator) -> Evidence:
    """In model 1 raw scores rise with depth, and as much where tokens are shuffled; shares do not.
    And in samples of 200 channels even a rate that rises evenly from 0 to 1 over 64 layers falls
    from many layers to the next."""
    found = record_by_depth()["typeseg"]
    depth = range(len(found["share"]))
    rank = {name: float(spearmanr(depth, v).statistic) for name, v in found.items()}
    even = torch.linspace(0, 1, 64, dtype=torch.float64).expand(200, 64)
    sampled = torch.binomial(torch.full_like(even, 200.0), even, generator=generator)
    falls = (sampled.diff(dim=-1) < 0).sum(-1).double()
    return Evidence(
        [
            above("rank correlation of depth and raw score", rank["raw score"], 0.8),
            above("with shuffled tokens", rank["raw score of shuffled tokens"], 0.8),
            below("rank correlation of depth and share", rank["share"], 0.5),
            at_least("of 63 steps, fewest that fall in a sample of 200", int(falls.min()), 1),
        ],
        {"layers": len(depth), "mean number that fall": float(falls.mean()), "samples": 200},
    )


# Figure 2 and the number of channels.


def softmax_rows() -> tuple[list, list]:
    """For A_lj = -1000 e^{-3 (l - j) / 10}, T = 16, in ball arithmetic: the softmax of each row,
    and the shares of ``|A|`` in it."""

    def over_its_sum(row: list) -> list:
        total = sum(row)
        return [value / total for value in row]

    lags = [(flint.arb(-3 * lag) / 10).exp() for lag in range(LENGTH)]
    A = [[-1000 * lags[l - j] for j in range(l + 1)] for l in range(LENGTH)]
    return [over_its_sum([v.exp() for v in row]) for row in A], [over_its_sum(row) for row in A]


def softmax_means_attended(generator: torch.Generator) -> Evidence:
    """Where a row's softmax has over half of its weight on key 1, so has ``|A|`` more than 1/l."""
    soft, share = softmax_rows()
    half = [l for l in range(1, LENGTH) if soft[l][0] > 0.5]
    attended = [l for l in half if share[l][0] > flint.arb(1) / (l + 1)]
    return Evidence(
        [
            above("rows after the first, softmax over half on key 1", len(half), 0),
            equal("of these, rows whose share of key 1 is above uniform", len(attended), len(half)),
        ],
        {"softmax of key 1, row 16": float(soft[-1][0]), "its share": float(share[-1][0])},
    )


def softmax_prefers_least(generator: torch.Generator) -> Evidence:
    """Key 1 has the least ``|A|`` in each row and most of the last row's softmax; A = 0 has its
    largest column mean there; the library's maps agree."""
    soft, share = softmax_rows()
    more = sum(bool(row[0] < other) for row in share for other in row[1:])
    one = torch.ones(1, 1, dtype=torch.float64)
    zero = importance(aligned_layer(one, 0 * one), "softmax")[0, 0]
    layer = aligned_layer(0.3 * one, -1000 * one)
    wanted = {"softmax": float(soft[-1][0]), "absolute": float(share[-1][0])}
    drawn = {variant: float(attention_map(layer, variant)[-1, 0]) for variant in wanted}
    off = max(abs(drawn[variant] / wanted[variant] - 1) for variant in wanted)
    return Evidence(
        [
            equal("entries with more weight than key 1 of their row", more, 15 * 16 // 2),
            above("softmax of key 1, row 16", wanted["softmax"], 0.5),
            below("its share of the row", wanted["absolute"], 1 / 16),
            equal("position of the largest mean for A = 0", int(zero.argmax()) + 1, 1),
            # Entries of size 1000 go into an exponential: rounding of 1e-13 each.
            below("the library's maps, relative difference", off, 1e-10),
        ]
    )


def channels_of_a_layer(generator: torch.Generator, expand: int) -> Evidence:
    """Parameters of FalconMambaForCausalLM in the shape of the 7B checkpoint, with 4096 `expand`
    channels a layer, against the published number."""
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    layers = 64
    shape = {"vocab_size": 65024, "hidden_size": 4096, "num_hidden_layers": 1, "expand": expand}
    with torch.device("meta"):  # shapes only: no memory, nothing drawn
        model = FalconMambaForCausalLM(FalconMambaConfig(**shape, tie_word_embeddings=False))
    one, total = (
        sum(value.numel() for value in part.parameters())
        for part in (model.backbone.layers[0], model)
    )
    total += (layers - 1) * one
    off = abs(total / PUBLISHED_PARAMETERS - 1)
    return Evidence(
        [below("parameters, relative difference from the published", off, 0.005)],
        {
            "channels of a layer": model.backbone.layers[0].mixer.A_log.shape[0],
            "parameters with 64 layers": total,
            "published": PUBLISHED_PARAMETERS,
        },
    )
