"""The hidden attention of models beside transformer-lens: its matrices, and scores of columns.

Needs that peer, which `pip install -e ".[peer]"` brings; run only when named. The peer gives
matrices alone, so its scores are means of their columns; ours come without them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere import s6, sinks

from .measure import Table, assert_same, peak_memories, race

SIZES = (256, 512, 1024, 2048, 4096)
SMALL = 3
LAYERS = 2
VOCABULARY = 50
LIMIT = 2**31
"""Bytes of what the peer holds at once, above which it is left out."""
AGREEMENT = 1e-4
"""Of the largest number. The peer subtracts float32 sums of all steps, which lose digits with L."""
HEARD = ("in_proj.hook_out", "conv1d.hook_out", "x_proj.hook_out", "dt_proj.hook_out")
"""What of a run the peer makes its matrices of: more than this it need not keep."""


def run(sizes: tuple[int, ...] = SIZES) -> list[Table]:
    """sizes: L."""
    return [_table(task, kind, sizes) for task in TASKS for kind in KINDS]


def mamba() -> nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    shape = {"hidden_size": 4, "state_size": 8}
    return MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, num_hidden_layers=LAYERS, use_cache=False, **shape)
    )


def mamba2() -> nn.Module:
    from transformers import Mamba2Config, Mamba2ForCausalLM

    shape = {"hidden_size": 8, "num_heads": 4, "head_dim": 4, "n_groups": 1, "state_size": 16}
    return Mamba2ForCausalLM(
        Mamba2Config(vocab_size=VOCABULARY, num_hidden_layers=LAYERS, use_cache=False, **shape)
    )


KINDS = {
    "Mamba-1, 8 channels of 8 states": (mamba, 8 * 8),
    "Mamba-2, 4 heads of 16 states": (mamba2, 4),
}
"""The models, and how many L x L matrices the peer makes of a layer on the way: Mamba-1 has one a
state, Mamba-2 one a head."""


def problem(kind: str, length: int) -> tuple[nn.Module, Tensor]:
    """A model with fresh weights, and a sequence."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return KINDS[kind][0]().eval(), torch.randint(VOCABULARY, (1, length))


def our_matrices(kind: str, length: int) -> Callable[[], Tensor]:
    return partial(s6.hidden_attention, *sinks.capture(*problem(kind, length))[0].tensors)


def our_scores(kind: str, length: int) -> Callable[[], Tensor]:
    model, ids = problem(kind, length)

    def first(layer: sinks.Layer) -> Tensor:
        return sinks.importance(layer)[..., 0]

    return lambda: torch.stack(sinks.each_layer(model, ids, first, values=False))


def forward(kind: str, length: int) -> Callable[[], Any]:
    """The model alone: what both ways of scoring contain."""
    model, ids = problem(kind, length)
    return partial(torch.no_grad()(model), ids)


def bridge(kind: str, length: int) -> Callable[[], Any]:
    """The peer's run of a model, which gives what it makes matrices of.

    Its own scan has to run: transformers' takes the weights of `conv1d` and `dt_proj`, and does not
    call them, so that the peer would not hear them.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    model, ids = problem(kind, length)
    # Its modules take the place of the model's.
    found = build_bridge_from_module(model, type(model).__name__, hf_config=model.config)
    for block in found.blocks:
        block.mixer.eager_scan = True

    @torch.no_grad()
    def hear() -> Any:
        return found.run_with_cache(ids, names_filter=lambda name: name.endswith(HEARD))[1]

    return hear


def peer_matrices(kind: str, length: int) -> Callable[[], Tensor]:
    return partial(_matrices, bridge(kind, length)(), 0)


def peer_scores(kind: str, length: int) -> Callable[[], Tensor]:
    hear = bridge(kind, length)

    def score() -> Tensor:
        cache = hear()
        return torch.stack([_matrices(cache, k)[..., 0].mean(-1) for k in range(LAYERS)])

    return score


@torch.no_grad()
def _matrices(cache: Any, layer: int) -> Tensor:
    return cache.compute_ssm_effective_attention(layer=layer, include_dt_scaling=True)


TASKS: dict[str, dict[str, Callable[[str, int], Callable[[], Any]]]] = {
    "the matrices of one layer": {"ours": our_matrices, "peer": peer_matrices},
    "the first token's score in every channel and layer": {
        "ours": our_scores,
        "peer": peer_scores,
        "forward": forward,
    },
}


def prepare(task: str, name: str, kind: str, length: int) -> Callable[[], Any]:
    """A contender on a problem of its own; found by name from another process."""
    return TASKS[task][name](kind, length)


def _table(task: str, kind: str, sizes: tuple[int, ...]) -> Table:
    names, matrices = list(TASKS[task]), KINDS[kind][1]
    # On the way there are four of each: an exponent, its exponential, zeros, and the choice.
    fitting = [length for length in sizes if 4 * 4 * matrices * length**2 <= LIMIT]
    memory: dict[str, dict[int, float]] = {}
    for name in names:
        some = fitting if name == "peer" else sizes
        grown = peak_memories(partial(prepare, task, name, kind), (SMALL,), [(n,) for n in some])
        memory[name] = dict(zip(some, grown, strict=True))
    rows = []
    for length in sizes:
        chosen = [name for name in names if name != "peer" or length in fitting]
        calls = {name: prepare(task, name, kind, length) for name in chosen}
        if length in fitting:
            assert_same("peer", calls["peer"](), calls["ours"](), AGREEMENT)
        times = race(calls, threads=(1,), repeats=5, budget=0.5)
        seconds = {name: times[name, 1].least("cpu") for name in chosen}
        row: dict[str, Any] = {"tokens": length}
        row |= {f"{name} CPU s": seconds.get(name) for name in names}
        row["peer / ours, CPU"] = seconds["peer"] / seconds["ours"] if length in fitting else None
        row |= {f"{name} MB": memory[name].get(length) for name in names}
        rows.append(row)
    notes = [
        "One thread, least CPU time of several runs in turns. MB: growth of a process's peak "
        "memory during the call, inputs excluded; a few MB fit into what it has freed before.",
        f"peer: transformer-lens. Left out where its {matrices} L x L matrices of a layer, of "
        f"which it holds four each, would take more than {LIMIT / 2**30:g} GiB.",
    ]
    if "forward" in names:
        notes.append(
            f"From token ids to the scores of {LAYERS} layers. forward: transformers' model alone, "
            "which is in ours; in the peer its own scan takes the place of transformers'."
        )
    return Table(f"peer: {task}, {kind}, float32", rows, notes)
