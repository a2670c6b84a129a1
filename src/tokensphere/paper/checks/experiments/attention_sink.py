"""Section 4.1 and appendix C.1: eqs (33)-(36), Figures 2 and 3, and what they are said to show.

No check runs Falcon-Mamba-7B: they test what the measures mean, on attention that is known.
"""

import itertools
from fractions import Fraction

import flint
import torch
from torch import Tensor

from tokensphere import s6
from tokensphere.flow import MambaFlow, random_tokens, simulate
from tokensphere.paper.ledger import Evidence
from tokensphere.sinks.capture import capture
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.nulls import lag_importance, uniform_importance
from tokensphere.sinks.scores import attention_map, importance, sink_rate, sink_score

EPSILON = Fraction(3, 10)
"""The paper's threshold, eq (34)."""

PAPER_LENGTH = 16

PUBLISHED_PARAMETERS = 7.27e9
"""Of Falcon-Mamba-7B as its model card gives it, tiiuae/falcon-mamba-7b on the Hugging Face hub."""


def _layer(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Layer:
    """A layer of these tensors; u and skip do not enter a score."""
    lengths = torch.full(delta.shape[:1], delta.shape[-1])
    return Layer("layer", torch.zeros_like(delta), delta, A, B, C, A[:, 0], None, lengths)


def _random_layer(generator: torch.Generator, batch=3, channels=20, states=4, length=16) -> Layer:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    delta = 0.3 * normal(batch, channels, length).exp()
    B, C = normal(2, batch, 1, states, length)
    return _layer(delta, -normal(channels, states).exp(), B, C)


def _aligned_layer(rate: Tensor, gain: Tensor, length: int = PAPER_LENGTH) -> Layer:
    """All tokens alike, M_lj = sum_n g_n e^{-r_n (l - j)}; rate and gain (D, N)."""
    delta = torch.ones(1, len(rate), length, dtype=torch.float64)
    B = gain[None, ..., None].expand(-1, -1, -1, length)
    return _layer(delta, -rate, B, torch.ones_like(B))


# Eqs (33)-(36) as definitions.


def equation_33(generator: torch.Generator, over: str) -> Evidence:
    """Column means of the whole matrix, over the queries from k on or over all T."""
    layer = _random_layer(generator)
    M = s6.hidden_attention(*layer.tensors)
    T = M.shape[-1]
    wanted = torch.stack(
        [M[..., k:, k].sum(-1) / (T - k if over == "later" else T) for k in range(T)], -1
    )
    off = float((importance(layer) - wanted).abs().max() / wanted.abs().max())
    # float64, T and N small: sums of some tens of terms.
    return Evidence(off < 1e-12, {"tokens": T, "largest relative difference": off})


def equations_34_to_36(generator: torch.Generator, strict: bool) -> Evidence:
    """Rates by counting one by one, for one sample; `strict` is the sign > of eq (34)."""
    layers = [importance(_random_layer(generator, batch=1)) for _ in range(4)]
    for alpha in layers:
        alpha[0, 0, 0] = float(EPSILON)  # on the threshold itself: no sink
    epsilon = float(EPSILON)
    rates = [
        sum(
            value > epsilon or (not strict and value == epsilon)
            for value in alpha[0, :, 0].tolist()
        )
        / alpha.shape[1]
        for alpha in layers
    ]
    found = [sink_rate(alpha, epsilon)[0] for alpha in layers]
    total = float(sink_score([sink_rate(alpha, epsilon) for alpha in layers])[0])
    off = max(abs(float(f) - r) for f, r in zip(found, rates, strict=True))
    off = max(off, abs(total - sum(rates) / len(rates)))
    return Evidence(off < 1e-12, {"Sink": total, "by counting": sum(rates) / len(rates)})


def order_of_averages(generator: torch.Generator, stated: bool) -> Evidence:
    """Two samples, one channel, first-token importance 1/2 and 0, or 7/10 and 0, against eps = 0.3.

    Stated: eqs (34)-(36) give one number for several samples. Corrected: one for each order.
    """
    rows, named = {}, ("after_threshold", "before_threshold")
    for pair in ((Fraction(1, 2), Fraction(0)), (Fraction(7, 10), Fraction(0))):
        exact = [
            sum(Fraction(value > EPSILON) for value in pair) / 2,
            Fraction(sum(pair) / 2 > EPSILON),
        ]
        alpha = torch.tensor([[[float(value)]] for value in pair], dtype=torch.float64)
        found = [float(sink_rate(alpha, float(EPSILON), order)[0]) for order in named]
        rows[f"alpha_1 of {pair[0]} and {pair[1]}"] = [found, [float(value) for value in exact]]
    values = list(rows.values())
    numbers = {f"{name}: {', '.join(named)}": found for name, (found, _) in rows.items()}
    if stated:
        return Evidence(all(found[0] == found[1] for found, _ in values), numbers)
    return Evidence(all(found == exact for found, exact in values), numbers)


# What attention without preference scores.


def _uniform(length: int) -> list[Fraction]:
    """alpha_k of uniform causal attention from its matrix, eq (33), exactly."""
    M = [[Fraction(1, l) if j <= l else Fraction(0) for j in range(1, length + 1)]
         for l in range(1, length + 1)]  # fmt: skip
    return [sum(row[k] for row in M[k:]) / (length - k) for k in range(length)]


def _harmonic(n: int) -> Fraction:
    return sum((Fraction(1, l) for l in range(1, n + 1)), Fraction(0))


def first_dominates(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: without a preference for it, the first token does not have the largest importance.

    Corrected: under uniform attention alpha_k = (H_T - H_{k-1}) / (T - k + 1), falling in k; so it
    is the excess over this that counts, 0 for uniform attention and positive for a sink put there.
    """
    lengths = range(2, 41)
    profiles = {T: _uniform(T) for T in lengths}
    falling = all(all(a > b for a, b in itertools.pairwise(p)) for p in profiles.values())
    at = profiles[PAPER_LENGTH]
    numbers = {
        "lengths": [2, 40],
        "first token largest in": sum(p[0] == max(p) for p in profiles.values()),
        "alpha_1, alpha_2, alpha_16 at T = 16": [float(at[k]) for k in (0, 1, 15)],
    }
    if stated:
        return Evidence(not any(p[0] == max(p) for p in profiles.values()), numbers)
    closed = all(
        p[k - 1] == (_harmonic(T) - _harmonic(k - 1)) / (T - k + 1)
        for T, p in profiles.items()
        for k in range(1, T + 1)
    )
    # A first token with steps ten times those of the others, which are alike.
    delta = torch.full((1, 1, PAPER_LENGTH), 0.05, dtype=torch.float64)
    delta[..., 0] = 0.5
    one = torch.ones(1, 1, 1, PAPER_LENGTH, dtype=torch.float64)
    sink = importance(_layer(delta, -one[0, 0, :, :1], one, one), "absolute")[0, 0]
    numbers["excess of a first token with ten times the step"] = float(sink[0] - float(at[0]))
    exact = torch.tensor([float(value) for value in at], dtype=torch.float64)
    off = float((uniform_importance(PAPER_LENGTH) - exact).abs().max())
    passed = falling and closed and float(sink[0] - float(at[0])) > 0.1
    return Evidence(passed and off < 1e-14, numbers)


def _threshold(generator: torch.Generator, stated: bool) -> Evidence:
    """Stated: uniform attention has no sink at eps = 0.3. Corrected: none at eps >= H_T / T."""
    lengths = range(1, 61)
    first = {T: _uniform(T)[0] for T in lengths}
    passing = [T for T, value in first.items() if value > EPSILON]
    numbers = {
        "lengths T <= 60 whose every channel passes eps = 0.3": passing,
        "alpha_1 at T = 9": float(first[9]),
        "alpha_1 at T = 16": float(first[PAPER_LENGTH]),
    }
    if stated:
        return Evidence(not passing, numbers)
    exact = all(value == _harmonic(T) / T for T, value in first.items())
    # H_T / T falls, so that no later T passes either.
    falling = all(first[T] > first[T + 1] for T in range(1, 60))
    return Evidence(exact and falling and passing == [*range(1, 10)], numbers)


# The scale of raw scores.


def _model(generator: torch.Generator) -> torch.nn.Module:
    """A MambaForCausalLM of two layers whose channels all have a positive first-token score.

    Its convolution has a large bias, so that values are positive and B nearly the same for all
    tokens, and C = B, so that <C_l, B_j> > 0.
    """
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        model = MambaForCausalLM(MambaConfig(**sizes, time_step_rank=3)).double().eval()
    for module in model.modules():
        if hasattr(module, "x_proj"):
            module.conv1d.bias.data.fill_(3.0)
            rows = module.x_proj.weight.data
            rows[-4:] = rows[-8:-4]
            module.D.data.uniform_(0.5, 1.5, generator=generator)
    return model


@torch.no_grad()
def _scale(generator: torch.Generator, variant: str, threshold: float) -> Evidence:
    """Sink of one function of tokens, stored with hidden attention c times as large, three c.

    Powers of two, so that weights are scaled without rounding.
    """
    model = _model(generator)
    mixers = [module for module in model.modules() if hasattr(module, "x_proj")]
    ids = torch.randint(40, (4, PAPER_LENGTH), generator=generator)
    logits, sinks, done = [], [], 1.0
    for scale in (2.0**-20, 1.0, 2.0**20):
        for mixer in mixers:
            mixer.x_proj.weight[-4:] *= scale / done
            mixer.D *= scale / done
            mixer.out_proj.weight /= scale / done
        done = scale
        logits.append(model(ids, use_cache=False).logits)
        rates = [sink_rate(importance(layer, variant), threshold) for layer in capture(model, ids)]
        sinks.append(float(sink_score(rates)[0]))
    changes = [float((other - logits[1]).abs().max() / logits[1].std()) for other in logits]
    numbers = {
        "variant": variant,
        "eps": threshold,
        "Sink at c = 2^-20, 1, 2^20": sinks,
        "largest change of a logit, over their spread": max(changes),
    }
    # The model runs its steps in float32.
    assert max(changes) < 1e-5, "the weights were not rescaled to the same function"
    return Evidence(max(sinks) - min(sinks) < 1e-9, numbers)


# What the theory's limit scores, and its flow.


def limit(generator: torch.Generator, stated: bool) -> Evidence:
    """Importance with all tokens at one point, one rate a channel as in the paper, T = 16.

    Stated, for positive gains: the first token has the largest raw importance in every channel, or
    more than the uniform share. As corrected: raw importance rises with k and all shares are below
    uniform; a larger first step, or states of both signs, which the limit lacks, make a sink.
    """
    channels, uniform = 200, float(uniform_importance(PAPER_LENGTH)[0])
    draws = torch.rand(channels, 1, generator=generator, dtype=torch.float64)
    rate = 1e-3 * (3e4**draws)
    gain = torch.randn(channels, 1, generator=generator, dtype=torch.float64).exp()
    layer = _aligned_layer(rate, gain)
    raw, share = importance(layer)[0], importance(layer, "absolute")[0]
    numbers = {
        "channels": channels,
        "first token has the largest raw score in": int((raw.argmax(-1) == 0).sum()),
        "and the smallest in": int((raw.argmin(-1) == 0).sum()),
        "its share exceeds the uniform one in": int((share[:, 0] > uniform).sum()),
        "largest share over the uniform one": float(share[:, 0].max() / uniform),
    }
    if stated:
        dominates = (raw.argmax(-1) == 0).all() or (share[:, 0] > uniform).all()
        return Evidence(bool(dominates), numbers)
    rising = bool((raw.diff(dim=-1) > 0).all() and (share[:, 0] < uniform).all())
    negative = bool((importance(_aligned_layer(rate, -gain)) < 0).all())
    closed = lag_importance(rate[:, 0], gain[:, 0], PAPER_LENGTH)
    off = float((raw / closed - 1).abs().max())

    slow = layer.select((rate[:, 0] < 0.1).nonzero()[:, 0])
    delta = slow.delta.clone()
    delta[..., 0] = 10.0
    larger = importance(_layer(delta, *slow.tensors[1:]), "absolute")[0, :, 0]
    decays = torch.tensor([[0.999, 0.9]], dtype=torch.float64)
    signs = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    mixed = importance(_aligned_layer(-decays.log(), signs))[0, 0]
    numbers |= {
        "raw scores with negative gains are all negative": negative,
        "largest relative difference from the closed form": off,
        "ten times the first step, rates below 0.1: least share": float(larger.min()),
        "f(m) = 0.999^m - 0.9^m: alpha_1, alpha_2, alpha_16": mixed[[0, 1, -1]].tolist(),
    }
    sinks = float(larger.min()) > uniform and int(mixed.argmax()) == 0
    # 1e-9: 1 - e^{-r} at r = 1e-3 costs three digits in the scan's sums, and there are 16 of them.
    return Evidence(rising and negative and off < 1e-9 and sinks, numbers)


def _flow(generator: torch.Generator, stated: bool) -> Evidence:
    """Eq (6) with a positive definite form, from random tokens: scores as they align.

    Stated: as tokens come to the axis of the first, its share comes above the uniform one, and its
    raw importance, a mean over channels, above that of the others. Corrected: tokens do come to it,
    and either happens in one draw of eight at most.
    """
    count, dim = 16, 5
    draw = torch.randn(2, count, dim, dim, generator=generator, dtype=torch.float64)
    S_BC = (draw[0] - draw[0].mT) / 2 + 2 * torch.eye(dim, dtype=torch.float64)
    a = 0.1 + 0.9 * torch.rand(count, dim, generator=generator, dtype=torch.float64)
    flow = MambaFlow(S_BC, draw[1], a)
    x = random_tokens(count, PAPER_LENGTH, dim, generator=generator)
    # Scores are compared to a hundredth: no need of more digits.
    run = simulate(flow, x, torch.tensor([0.0, 10.0], dtype=torch.float64), 1e-4, 1e-6)
    queries = torch.arange(PAPER_LENGTH, 0, -1)
    uniform = float(uniform_importance(PAPER_LENGTH)[0])
    close, sink, share, largest, above = [], [], [], [], []
    for tokens in run.tokens:
        M = flow.attention(tokens)
        alpha = M.sum(-2) / queries
        shares = ((M.abs() / M.abs().sum(-1, keepdim=True)).sum(-2) / queries)[..., 0].mean(1)
        close.append(float((tokens[:, 1:] @ tokens[:, 0, :, None]).abs().mean()))
        sink.append(float((alpha[..., 0] > float(EPSILON)).double().mean()))
        share.append(float(shares.mean()))
        largest.append(int((alpha.mean(1).argmax(-1) == 0).sum()))
        above.append(int((shares > uniform).sum()))
    numbers = {
        "draws": count,
        "mean |cos| with the first token at t = 0, 10": close,
        "raw sink rate, eq (35)": sink,
        "mean share of the first token": share,
        "uniform share": uniform,
        "draws whose first token has the largest raw score": largest,
        "draws whose first token is above the uniform share": above,
    }
    if stated:
        return Evidence(min(largest[1], above[1]) > count / 2, numbers)
    return Evidence(close[1] > close[0] + 0.2 and max(largest[1], above[1]) <= count / 8, numbers)


# Figures.


def softmax_map(generator: torch.Generator, stated: bool) -> Evidence:
    """M_lj = -1000 e^{-3 (l - j) / 10} at T = 16, and M = 0, in ball arithmetic.

    Stated: where a row's softmax has most of its weight on the first key, so has ``|M|``.
    Corrected: of ``|M|`` the first key has the least in every row.
    """
    T = PAPER_LENGTH
    M = [[-1000 * (flint.arb(-3 * (l - j)) / 10).exp() for j in range(l + 1)] for l in range(T)]
    soft, share = [], []
    for row in M:
        weights = [value.exp() for value in row]
        soft.append(weights[0] / sum(weights))
        share.append([value / sum(row) for value in row])
    half = [l + 1 for l in range(1, T) if soft[l] > 0.5]
    least = all(row[0] < other for row in share for other in row[1:])
    attended = all(share[l - 1][0] > flint.arb(1) / l for l in half)
    zero = _uniform(T)
    numbers = {
        "rows l > 1 whose softmax has over half on key 1": half,
        "softmax weight of key 1 in row 16": float(soft[-1]),
        "its share of |M| there": float(share[-1][0]),
        "M = 0: mean of column 1 of the map, of column 2": [float(zero[0]), float(zero[1])],
    }
    if stated:
        return Evidence(bool(half) and attended, numbers)
    layer = _aligned_layer(
        torch.full((1, 1), 0.3, dtype=torch.float64), torch.full((1, 1), -1000.0).double()
    )
    drawn = [attention_map(layer, variant)[-1, 0] for variant in ("softmax", "absolute")]
    wanted = [numbers["softmax weight of key 1 in row 16"], numbers["its share of |M| there"]]
    off = max(abs(float(d) / w - 1) for d, w in zip(drawn, wanted, strict=True))
    numbers["the library's maps: largest relative difference"] = off
    # Entries of size 1000 go into an exponential: rounding of 1e-13 each.
    return Evidence(least and off < 1e-10, numbers)


def _channels(generator: torch.Generator, expand: int) -> Evidence:
    """Channels and parameters of FalconMambaForCausalLM in the shape of the 7B checkpoint."""
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    layers = 64
    config = FalconMambaConfig(
        vocab_size=65024,
        hidden_size=4096,
        num_hidden_layers=1,
        expand=expand,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):  # shapes only: no memory, nothing drawn
        model = FalconMambaForCausalLM(config)
    one = sum(value.numel() for value in model.backbone.layers[0].parameters())
    rest = sum(value.numel() for value in model.parameters()) - one
    total = rest + layers * one
    channels = model.backbone.layers[0].mixer.A_log.shape[0]
    return Evidence(
        abs(total / PUBLISHED_PARAMETERS - 1) < 0.005,
        {
            "expand": expand,
            "channels of a layer": channels,
            "parameters with 64 layers": total,
            "published": PUBLISHED_PARAMETERS,
        },
    )
