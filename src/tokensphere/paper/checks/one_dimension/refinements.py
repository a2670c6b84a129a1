"""The earlier paper's two refinements: signs of S_C^T S_B, and tokens ordered by importance."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tokensphere import records, refine
from tokensphere.paper.checks.tools import normal, uniform
from tokensphere.paper.experiments import refinement_outcomes as outcomes
from tokensphere.paper.ledger import (
    Criterion,
    Evidence,
    above,
    at_least,
    below,
    between,
    equal,
)
from tokensphere.refine.averaging import effective_tokens
from tokensphere.refine.reflection import reflect
from tokensphere.reorder import comparison, contrasts, experiment
from tokensphere.reorder.policies import soft_sort

# Signs.


def signs(generator: torch.Generator, tied: bool) -> Evidence:
    """Maps S_B and S_C, drawn apart or `tied`, S_B = M S_C with a definite symmetric part of M,
    have N positive and N negative eigenvalues; a tie by any M has the signs of its own."""
    draws, mixed, same, least = 60, 0, 0, []
    for _ in range(draws):
        states = 1 + int(4 * uniform(generator))
        S_C = normal(generator, states, 2 * states + int(5 * uniform(generator)))
        M = normal(generator, states, states)
        definite = M @ M.mT + (M - M.mT) + 0.1 * torch.eye(states)
        S_B = definite @ S_C if tied else normal(generator, *S_C.shape)
        found = refine.signature(S_B, S_C)
        mixed += found.positive == found.negative == states
        least.append(float(found.eigenvalues.abs().min() / found.eigenvalues.abs().max()))
        own = torch.linalg.eigvalsh((M + M.mT) / 2)
        found = refine.signature(M @ S_C, S_C)
        same += (found.positive, found.negative) == (int((own > 0).sum()), int((own < 0).sum()))
    return Evidence(
        [
            equal("draws with N positive and N negative", mixed, draws),
            equal("ties with the signs of M's symmetric part", same, draws),
        ],
        {"least modulus of an eigenvalue by the largest": min(least)},
    )


def constant_read(M: Tensor, a: Tensor, length: int = 6000) -> float:
    """Supply per unit of time of a channel with B = M C that reads one vector, of length 1, all the
    time: the vector along which M / a has the least form. Steps of 1/10 of the shortest memory."""
    v = a * torch.linalg.eigh(M * a + a[:, None] * M).eigenvectors[:, 0]
    v = v / v.norm()
    delta = torch.full((1, 1, length), 0.1 / float(a.max()), dtype=torch.float64)
    C = v[None, :, None].expand(1, len(a), length)
    B = torch.einsum("nm,bml->bnl", M, C)
    found = refine.supply(torch.ones_like(delta), delta, -a[None], B, C)
    return float(found / delta.sum())


def definite_is_enough(generator: torch.Generator, tie: str) -> Evidence:
    """Where S_C^T S_B is symmetric with positive eigenvalues, supplies are positive.

    `tie`: M of S_B = M S_C is any "definite" matrix, or "diagonal".
    """
    least, signatures = [], set()
    off = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    rates = torch.tensor([1.0, 20.0], dtype=torch.float64)
    pairs = [(off, rates)]
    for _ in range(20):
        Q = normal(generator, 3, 3)
        pairs.append((Q @ Q.mT / 3, 10 ** uniform(generator, 3)))
    for M, a in pairs:
        M = torch.diag(M.diagonal()) if tie == "diagonal" else M
        S_C = normal(generator, len(a), 8)
        found = refine.signature(M @ S_C, S_C)
        signatures.add(found.kind)
        least.append(constant_read(M, a))
    return Evidence(
        [
            equal("signs of S_C^T S_B", sorted(signatures), ["positive"]),
            at_least("least supply per unit of time", min(least), 0.0),
        ],
        {"of M = (1, 0.9; 0.9, 1), rates 1 and 20": least[0], "pairs": len(pairs)},
    )


def _least_form(M: Tensor, a: Tensor, step: float, length: int) -> float:
    """Least eigenvalue of the supply as a form in the reads v_l, all of L N numbers, by the largest
    modulus: its entries are exp(-a_n step (l - j)) M_nm for j <= l."""
    lag = torch.arange(length, dtype=torch.float64)
    lag = lag[:, None] - lag
    decay = torch.exp(-a * step * lag.clamp(min=0)[..., None]) * (lag >= 0)[..., None]
    form = torch.einsum("ljn,nm->lnjm", decay, M).flatten(2).flatten(0, 1)
    values = torch.linalg.eigvalsh((form + form.mT) / 2)
    return float(values[0] / values.abs().max())


def _ties(generator: torch.Generator) -> Iterator[tuple[str, Tensor, Tensor]]:
    """M and rates: passive, definite and not passive for its rates, not symmetric."""
    kept = {"passive": 0, "unbalanced": 0, "skew": 0}
    while min(kept.values()) < 8:
        Q, a = normal(generator, 2, 2), 1 + 9 * uniform(generator, 2)
        M = Q @ Q.mT
        M = M / M.diagonal().sqrt().outer(M.diagonal().sqrt())
        balance = float(torch.linalg.eigvalsh(M * a + a[:, None] * M)[0])
        kind = "passive" if balance > 0 else "unbalanced"
        # Near the border long runs of small steps would be needed to tell.
        if abs(balance) > 0.1 * float(a.sum()) and kept[kind] < 8:
            kept[kind] += 1
            yield kind, M, a
        if kept["skew"] < 8:
            kept["skew"] += 1
            yield "skew", torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64), a


def passive_ties(generator: torch.Generator, rule: str) -> Evidence:
    """Which ties B = M C make the supply nonnegative whatever is read.

    `rule`: M symmetric and M diag(a) + diag(a) M semidefinite, "balance"; or the symmetric part of
    M positive definite, "definite".
    """
    wrong, forms = 0, {}
    for kind, M, a in _ties(generator):
        if rule == "balance":
            said = refine.passive(M, a)
        else:
            said = float(torch.linalg.eigvalsh((M + M.mT) / 2)[0]) > 0
        form = _least_form(M, a, 0.02, 250)
        wrong += said != (form > -1e-12)
        forms.setdefault(kind, []).append(form)
    rates = 10 ** (4 * uniform(generator, 200, 3) - 2)
    diagonal = torch.diag(uniform(generator, 3))
    always = sum(refine.passive(diagonal, a) for a in rates)
    # An entry off the diagonal is found out by rates of which one alone is large.
    off = diagonal + torch.tensor([[0, 1e-3, 0], [1e-3, 0, 0], [0, 0, 0]], dtype=torch.float64)
    found = [
        refine.passive(off, torch.tensor([1.0, slow, 1.0], dtype=torch.float64))
        for slow in (1.0, 1e-9)
    ]
    return Evidence(
        [
            equal("ties for which the rule errs, of 24", wrong, 0),
            equal("rates at which a diagonal tie is passive, of 200", always, 200),
            equal("the same tie with 0.001 off the diagonal, at rates far apart", int(found[1]), 0),
        ],
        {f"least form, {kind}": min(values) for kind, values in forms.items()},
    )


def tied_supply(generator: torch.Generator, signs: str) -> Evidence:
    """The supply of a tied layer is at least 1/2 sum_n d_n sum_l (Delta_l u_l C_n(l))^2 for random
    tokens, steps, rates, and for two tokens where it is sharp; `signs` of d: "one", or "mixed"."""
    states, slack, negative, entries = 4, [], 0, 0
    for _ in range(60):
        u, steps = normal(generator, 1, 6, 12), normal(generator, 1, 6, 12)
        delta, A = (2 * steps).exp(), -normal(generator, 6, states).exp()
        C = torch.einsum("nd,bdl->bnl", normal(generator, states, 6), u)
        d = uniform(generator, states)
        if signs == "mixed":
            d[::2] *= -1
        slack.append(_over_bound(u, delta, A, C, d))
        products = torch.einsum("n,nl,nj->lj", d, C[0], C[0]).tril(-1)
        negative += int((products < 0).sum())
        entries += 12 * 11 // 2
    # Nothing decays, and what the layer holds is zero after the second token.
    u = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    A, d = torch.tensor([[-1e-3]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    sharp = _over_bound(u, torch.ones_like(u), A, torch.ones_like(u), d)
    what = "least supply less its bound, by the bound's size"
    return Evidence(
        [
            at_least(what, min(slack), -1e-12),
            between(f"{what}, two tokens of opposite sign", sharp, 0, 1e-2),
        ],
        {"share of negative entries below the diagonal, no decay": negative / entries},
    )


def _over_bound(u: Tensor, delta: Tensor, A: Tensor, C: Tensor, d: Tensor) -> float:
    """Least supply of a channel with B = d C less its bound, by that for the moduli of d."""
    over = refine.supply(u, delta, A, d[:, None] * C, C) - refine.least_supply(u, delta, C, d)
    return float((over / refine.least_supply(u, delta, C, d.abs())).min())


def other_sign(generator: torch.Generator, skip: bool) -> Evidence:
    """Negating S_B, W_out and, if `skip`, D leaves a mixer's output as it was."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        mixer = MambaMixer(MambaConfig(hidden_size=16, state_size=4), layer_idx=0).double().eval()
    refine.constrain(mixer, refine.InputOutput("positive"))
    refine.release(mixer)
    x = normal(generator, 2, 20, 16)
    with torch.no_grad():
        before = mixer(x)
        kinds = [refine.signature(*refine.projections(mixer)).kind]
        reflect(mixer)
        if not skip:
            mixer.D.neg_()
        kinds.append(refine.signature(*refine.projections(mixer)).kind)
        off = float((mixer(x) - before).abs().max() / before.abs().max())
    return Evidence(
        [
            equal("signs before and after", kinds, ["positive", "negative"]),
            below("largest difference of the output, by the output", off, 1e-12),
        ]
    )


# What the runs say.


def _runs() -> list:
    return outcomes.recorded().data["runs"]


def _margin() -> float:
    return outcomes.recorded().parameters["plan"]["margin"]


def _differences() -> dict[tuple[str, str], tuple[comparison.Difference, float]]:
    values = outcomes.losses(_runs())
    return {
        **outcomes.compare(values, outcomes.primary_pairs()),
        **outcomes.compare(values, outcomes.secondary_pairs()),
    }


def positive_helps(generator: torch.Generator) -> Evidence:
    """Positive signs have the lower loss, against each of three arms, after Holm, as planned."""
    found = _differences()
    criteria: list[Criterion] = []
    for other in (outcomes.BASE, "negative", "mixed, offset"):
        difference, p = found["positive", other]
        criteria += [
            below(f"positive minus {other}, nats a token", difference.mean, 0.0),
            below(f"its p after Holm, {other}", p, 0.05),
        ]
    return Evidence(criteria)


def positive_gains_nothing(generator: torch.Generator) -> Evidence:
    """A gain of the margin over no constraint is excluded; and the sign, held or not, is the same:
    within the margin of the tie with free d, of which none changed its sign."""
    runs = _runs()
    low = _differences()["positive", outcomes.BASE][0].low
    pairs = outcomes.secondary_pairs()
    equivalent = outcomes.compare(outcomes.losses(runs), pairs, 0.9)["positive", "tied"][0]
    changed = sum(
        value < 0
        for run in outcomes.arms(runs)["tied"]
        for layer in run["after"]["signatures"]
        for value in layer["d"]
    )
    margin = _margin()
    return Evidence(
        [
            above("positive minus unconstrained, lower bound", low, -margin),
            between("positive minus tied, lower 90% bound", equivalent.low, -margin, margin),
            between("positive minus tied, upper 90% bound", equivalent.high, -margin, margin),
            equal("free d that became negative, of 768", changed, 0),
        ],
        {"detectable with power 0.8, nats a token": detectable()},
    )


def detectable() -> float:
    """The difference from no constraint that a test of four pairs finds with power 0.8."""
    found = _differences()
    sd = comparison.pooled_sd(found[pair][0] for pair in outcomes.primary_pairs())
    return comparison.detectable(sd, 4)


def signs_differ(generator: torch.Generator, lower: str) -> Evidence:
    """Of the two signs, held at their own scale, `lower` has the lower loss after Holm."""
    sign = 1 if lower == "positive" else -1
    difference, p = _differences()["positive, own scale", "negative, own scale"]
    highest = max(sign * difference.low, sign * difference.high)
    return Evidence(
        [
            below(f"upper bound, {lower} less the other", highest, 0.0),
            below("its p after Holm", p, 0.05),
        ]
    )


def norms(generator: torch.Generator, law: str) -> Evidence:
    """Tokens through the depth of the trained models: with negative signs they "shrink"; or in all
    arms they "grow", with negative signs by less."""
    found = outcomes.streams(_runs(), "after", "log_norm")
    grown = {arm: values[:, -1] - values[:, 0] for arm, values in found.items()}
    if law == "shrink":
        return Evidence([below("growth of the logarithm, negative", grown["negative"].max(), 0.0)])
    steps = min(float(np.diff(values, axis=1).min()) for values in found.values())
    difference = comparison.paired(grown["negative"], grown["positive"])
    return Evidence(
        [
            above("least growth in one block, of 32 x 12", steps, 0.0),
            below("negative less positive, upper bound", difference.high, 0.0),
        ],
        {f"mean growth, {arm}": float(values.mean()) for arm, values in grown.items()},
    )


def leaning(generator: torch.Generator, towards: str) -> Evidence:
    """Where nothing is held, training turns layers `towards` a sign: the share of the positive
    eigenvalues in the sum of moduli, in every layer of every run; even at the start."""
    shares = {
        when: outcomes.layers(_runs(), when, "positive_share")[outcomes.BASE]
        for when in ("before", "after")
    }
    after = shares["after"] if towards == "negative" else 1 - shares["after"]
    off = float(np.abs(shares["before"] - 0.5).max())
    positive = outcomes.layers(_runs(), "after", "own_positive")[outcomes.BASE]
    return Evidence(
        [
            below("largest share of the other sign, 48 layers", float(after.max()), 0.45),
            below("largest distance from 1/2 before training", off, 0.02),
        ],
        {
            "mean share of positive by layer": shares["after"].mean(0).tolist(),
            "eigenvalues of S_C^T S_B with positive real part, of 16, mean": float(positive.mean()),
        },
    )


# Tokens ordered by importance.


def relaxed_order(generator: torch.Generator, spread: float) -> Evidence:
    """At temperature 1 a row of the relaxed permutation selects: of 196 normal scores with this
    standard deviation it averages over fewer than two."""
    P = soft_sort(spread * normal(generator, 40, 196), 1.0)
    effective = effective_tokens(P)
    return Evidence(
        [below("tokens averaged, mean over rows", float(effective.mean()), 2.0)],
        {"median": float(effective.median()), "largest weight, mean": float(P.amax(-1).mean())},
    )


def _by_importance() -> dict[str, contrasts.Accuracy]:
    files = {m: records.path(f"reordered_training/{m}.json") for m in experiment.MODELS}
    runs = {
        model: records.load(file, parameters=experiment.parameters(model)).data["runs"]
        for model, file in files.items()
    }
    return {model: found["importance"] for model, found in contrasts.accuracies(runs).items()}


def importance_helps(generator: torch.Generator) -> Evidence:
    """Trained with tokens in the order of a learned score, models are better, in each of three."""
    found = _by_importance()
    return Evidence(
        [above(f"lower bound of the gain, {m}", a.difference.low, 0.0) for m, a in found.items()],
        {f"pairs, {m}": a.difference.n for m, a in found.items()},
    )


def importance_costs(generator: torch.Generator) -> Evidence:
    """The two plain S6 classifiers are worse, after Holm; MambaVision-T's interval holds 0."""
    found = _by_importance()
    tiny = found["mambavision_tiny"].difference
    criteria = [
        below("MambaVision-T, lower bound", tiny.low, 0.0),
        above("MambaVision-T, upper bound", tiny.high, 0.0),
    ]
    for model in ("s6-small", "s6-tiny"):
        criteria += [
            below(f"upper bound, {model}", found[model].difference.high, 0.0),
            below(f"p after Holm, {model}", found[model].p, 0.05),
        ]
    return Evidence(criteria)
