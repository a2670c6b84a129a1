"""Eqs (33)-(36): what the scores are, what they give without a preference, their scale."""

import itertools
from fractions import Fraction

import torch
from torch import Tensor

from tokensphere import s6
from tokensphere.paper.ledger import Evidence, above, at_least, at_most, below, equal
from tokensphere.sinks import nulls
from tokensphere.sinks.capture import capture
from tokensphere.sinks.layer import Layer
from tokensphere.sinks.scores import importance, sink_rate, sink_score

EPSILON = Fraction(3, 10)
"""The paper's threshold, eq (34)."""

LENGTH = 16
"""Tokens of the paper's prompts."""


def layer_of(delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Layer:
    """A layer of these tensors; u and skip do not enter a score."""
    lengths = torch.full(delta.shape[:1], delta.shape[-1])
    return Layer("layer", torch.zeros_like(delta), delta, A, B, C, A[:, 0], None, lengths)


def random_layer(generator: torch.Generator, batch: int = 3) -> Layer:
    """20 channels of 4 states, 16 tokens."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    delta = 0.3 * normal(batch, 20, LENGTH).exp()
    B, C = normal(2, batch, 1, 4, LENGTH)
    return layer_of(delta, -normal(20, 4).exp(), B, C)


def aligned_layer(rate: Tensor, gain: Tensor) -> Layer:
    """16 tokens, all alike: A_lj = sum_n g_n e^{-r_n (l - j)}; rate and gain (D, N)."""
    delta = torch.ones(1, len(rate), LENGTH, dtype=torch.float64)
    B = gain[None, ..., None].expand(-1, -1, -1, LENGTH)
    return layer_of(delta, -rate, B, torch.ones_like(B))


# Eqs (33)-(36) as definitions.


def equation_33(generator: torch.Generator, over: str) -> Evidence:
    """Against column means of the whole matrix, over the queries from k on or over all T."""
    layer = random_layer(generator)
    # Zero where j > l: a column's sum is one over the queries from k on.
    columns = s6.hidden_attention(*layer.tensors).sum(-2)
    wanted = columns / (torch.arange(LENGTH, 0, -1) if over == "later" else LENGTH)
    off = float((importance(layer) - wanted).abs().max() / wanted.abs().max())
    # float64, T and N small: sums of some tens of terms.
    return Evidence([below("largest relative difference", off, 1e-12)], {"tokens": LENGTH})


def equations_34_to_36(generator: torch.Generator, strict: bool) -> Evidence:
    """Rates by counting one by one, for one sample; `strict` is the sign > of eq (34)."""
    epsilon = float(EPSILON)
    layers = [importance(random_layer(generator, batch=1)) for _ in range(4)]
    rates = []
    for alpha in layers:
        alpha[0, 0, 0] = epsilon  # on the threshold itself: no sink
        values = alpha[0, :, 0].tolist()
        over = [value > epsilon or (not strict and value == epsilon) for value in values]
        rates.append(sum(over) / len(over))
    found = [sink_rate(alpha, epsilon) for alpha in layers]
    off = max(abs(float(f[0]) - rate) for f, rate in zip(found, rates, strict=True))
    total, counted = float(sink_score(found)[0]), sum(rates) / len(rates)
    return Evidence(
        [
            below("largest difference of a layer's rate from its count", off, 1e-12),
            below("difference of the model's score", abs(total - counted), 1e-12),
        ],
        {"score": total, "by counting": counted},
    )


def rows_sum_to_one(generator: torch.Generator, variant: str) -> Evidence:
    """Importance as of attention whose rows are shares: the T - k + 1 times alpha_k sum to T."""
    alpha = importance(random_layer(generator), variant)
    queries = torch.arange(LENGTH, 0, -1, dtype=torch.float64)
    off = float(((alpha * queries).sum(-1) - LENGTH).abs().max())
    return Evidence(
        [
            below("sum over all entries, off the number of rows by", off, 1e-12),
            at_least("least importance", float(alpha.min()), 0),
            at_most("largest importance of a first token", float(alpha[..., 0].max()), 1),
        ],
        {"variant": variant},
    )


def order_of_averages(generator: torch.Generator, named: bool) -> Evidence:
    """Two samples, one channel, first-token importance 0.5 and 0, or 0.7 and 0, against eps = 0.3.

    Not named: eqs (34)-(36) give one number for two samples. Named: the one of each order.
    """
    criteria = []
    # A sink in one sample of two; their means are 1/4 and 7/20.
    for value, wanted in ((0.5, (0.5, 0.0)), (0.7, (0.5, 1.0))):
        alpha = torch.tensor([[[value]], [[0.0]]], dtype=torch.float64)
        orders = ("after_threshold", "before_threshold")
        found = [float(sink_rate(alpha, float(EPSILON), order)[0]) for order in orders]
        what = f"importance {value} and 0"
        if named:
            titles = (f"{what}, averaged {order.replace('_', ' ')}" for order in orders)
            criteria += map(equal, titles, found, wanted)
        else:
            criteria.append(equal(f"{what}: rate after less before", found[0] - found[1], 0.0))
    return Evidence(criteria)


# What attention without preference scores.


def uniform(length: int) -> list[Fraction]:
    """alpha_k of uniform causal attention from its matrix, eq (33), exactly."""
    M = [[Fraction(j <= l, l) for j in range(1, length + 1)] for l in range(1, length + 1)]
    return [sum(row[k] for row in M[k:]) / (length - k) for k in range(length)]


def harmonic(n: int) -> Fraction:
    return sum((Fraction(1, l) for l in range(1, n + 1)), Fraction(0))


def only_sinks_dominate(generator: torch.Generator) -> Evidence:
    """Without a preference for it, the first token does not have the largest importance."""
    profiles = [uniform(T) for T in range(2, 41)]
    largest = sum(profile[0] == max(profile) for profile in profiles)
    return Evidence(
        [equal("lengths, 2 to 40, at which uniform attention has it at the first", largest, 0)]
    )


def excess_over_uniform(generator: torch.Generator) -> Evidence:
    """The null in closed form, falling in k; the excess over it shows a sink that was put there."""
    profiles = {T: uniform(T) for T in range(2, 41)}
    rises = sum(a <= b for p in profiles.values() for a, b in itertools.pairwise(p))
    wrong = sum(
        p[k - 1] != (harmonic(T) - harmonic(k - 1)) / (T - k + 1)
        for T, p in profiles.items()
        for k in range(1, T + 1)
    )
    exact = torch.tensor([float(value) for value in profiles[LENGTH]], dtype=torch.float64)
    off = float((nulls.uniform_importance(LENGTH) - exact).abs().max())
    # A first token with steps ten times those of the others, which are alike.
    delta = torch.full((1, 1, LENGTH), 0.05, dtype=torch.float64)
    delta[..., 0] = 0.5
    one = torch.ones(1, 1, 1, LENGTH, dtype=torch.float64)
    sink = importance(layer_of(delta, -one[0, 0, :, :1], one, one), "absolute")[0, 0]
    return Evidence(
        [
            equal("positions at which uniform importance does not fall, T = 2 to 40", rises, 0),
            equal("positions at which the closed form is wrong", wrong, 0),
            below("the library's, difference at T = 16", off, 1e-14),
            above(
                "excess of a first token with ten times the step", float(sink[0] - exact[0]), 0.1
            ),
        ],
        {"uniform, first, second and last of 16": exact[[0, 1, -1]].tolist()},
    )


def lengths_above_threshold(generator: torch.Generator, lengths: list[int]) -> Evidence:
    """Under uniform attention alpha_1 = H_T / T, which falls; it is above 0.3 at these T <= 60."""
    first = {T: uniform(T)[0] for T in range(1, 61)}
    wrong = sum(value != harmonic(T) / T for T, value in first.items())
    rises = sum(first[T] <= first[T + 1] for T in range(1, 60))
    passing = [T for T, value in first.items() if value > EPSILON]
    return Evidence(
        [
            equal("lengths up to 60 at which it is not H_T / T", wrong, 0),
            equal("lengths at which it does not fall", rises, 0),
            equal("lengths at which it is above 0.3", passing, lengths),
        ],
        {f"at T = {T}": float(first[T]) for T in (9, 10, LENGTH)},
    )


# The scale of raw scores.


def positive_model(generator: torch.Generator) -> torch.nn.Module:
    """A MambaForCausalLM of two layers whose channels all have a positive first-token score.

    Its convolution has a large bias, so that values are positive and B nearly the same for all
    tokens, and C = B, so that <C_l, B_j> > 0.
    """
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        model = MambaForCausalLM(MambaConfig(**sizes, time_step_rank=3)).double().eval()
    for mixer in mixers(model):
        mixer.conv1d.bias.data.fill_(3.0)
        rows = mixer.x_proj.weight.data
        rows[-4:] = rows[-8:-4]
        mixer.D.data.uniform_(0.5, 1.5, generator=generator)
    return model


def mixers(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if hasattr(module, "x_proj")]


@torch.no_grad()
def does_not_depend_on_scale(
    generator: torch.Generator, variant: str, threshold: float
) -> Evidence:
    """Sink of one function of tokens, stored with hidden attention c times as large, three c.

    Powers of two, so that weights are scaled without rounding.
    """
    model = positive_model(generator)
    ids = torch.randint(40, (4, LENGTH), generator=generator)
    logits, sinks, done = [], [], 1.0
    for scale in (2.0**-20, 1.0, 2.0**20):
        for mixer in mixers(model):
            mixer.x_proj.weight[-4:] *= scale / done
            mixer.D *= scale / done
            mixer.out_proj.weight /= scale / done
        done = scale
        logits.append(model(ids, use_cache=False).logits)
        rates = [sink_rate(importance(layer, variant), threshold) for layer in capture(model, ids)]
        sinks.append(float(sink_score(rates)[0]))
    change = max(float((other - logits[1]).abs().max() / logits[1].std()) for other in logits)
    return Evidence(
        [
            # The model runs its steps in float32.
            below("largest change of a logit, over their spread", change, 1e-5),
            below("range of Sink at c = 2^-20, 1, 2^20", max(sinks) - min(sinks), 1e-9),
        ],
        {"variant": variant, "threshold": threshold, "Sink": sinks},
    )
