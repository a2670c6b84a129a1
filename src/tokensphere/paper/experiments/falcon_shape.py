"""FalconMamba in the shape of its 7B model, with random weights: speed, memory, untrained scores.

    python -m tokensphere.paper.experiments.falcon_shape --record FILE

The weights of Falcon-Mamba-7B are not needed for what a run of it takes, nor for the scores of a
model that has learnt nothing. Needs a GPU with 40 GB; `--layers 2 --width 64` runs anywhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokensphere import records
from tokensphere.sinks.capture import check, each_layer
from tokensphere.sinks.measure import measure
from tokensphere.sinks.nulls import uniform_importance
from tokensphere.sinks.scores import VARIANTS, importance, interval

SHORT, PROMPTS, CHANNELS = 16, 170, 200
"""Tokens, prompts and channels a layer of the paper's evaluation, appendix C.1."""


def build(layers: int, width: int, device: str, seed: int = 0) -> nn.Module:
    """FalconMambaForCausalLM with `layers` of width `width`, bf16; the 7B model has 64 and 4096.

    Everything else is as in its published configuration: 16 states, expansion 2, a vocabulary of
    65,024, untied output. Weights are drawn from `seed` as transformers initialises them.
    """
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    config = FalconMambaConfig(
        vocab_size=65_024,
        hidden_size=width,
        state_size=16,
        expand=2,
        num_hidden_layers=layers,
        tie_word_embeddings=False,
        rescale_prenorm_residual=False,
        use_cache=False,
    )
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []), torch.device(device):
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.bfloat16)
        try:
            return FalconMambaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(before)


def run(layers: int, width: int, length: int, device: str, seed: int = 0) -> dict[str, Any]:
    """Time and memory of the model's forward alone and with every layer's importance, and scores.

    length: tokens of the long sequence, all of whose positions and channels are scored (raw).
    """
    model = build(layers, width, device, seed)
    g = torch.Generator().manual_seed(seed)
    vocabulary = model.config.vocab_size
    ids = torch.randint(vocabulary, (1, length), generator=g).to(device)
    short = torch.randint(vocabulary, (PROMPTS, SHORT), generator=g).to(device)

    def forward() -> Tensor:
        with torch.no_grad():
            return model(ids, use_cache=False, logits_to_keep=1).logits

    def scored() -> list[Tensor]:
        # They stay on the device: to fetch each layer's would be to wait for it.
        return each_layer(model, ids, lambda layer: importance(layer).mean(1), values=False)

    timings = {"forward": _timed(forward, device), "forward and scores": _timed(scored, device)}
    kept: list[Tensor] = []
    handle = model.register_forward_hook(lambda module, args, output: kept.append(output.logits))
    with handle:
        scored()
    unchanged = torch.equal(kept[0], forward())
    errors = check(model, ids[:, :SHORT])
    started = time.perf_counter()
    found = measure(model, [short], channels=CHANNELS, seed=seed)
    seconds = time.perf_counter() - started
    scores: dict[str, Any] = {}
    for variant in VARIANTS:
        values = torch.stack([layer.scores[variant] for layer in found])
        low, high = interval(values[..., 0].T)
        scores[variant] = {
            "mean": values.mean(1).tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "after_threshold": [float(layer.rates[variant][:, 0].mean()) for layer in found],
            "before_threshold": [float(layer.pooled_rates[variant][0]) for layer in found],
        }
    return {
        "parameters": sum(value.numel() for value in model.parameters()),
        "bytes": sum(value.nbytes for value in model.parameters()),
        "channels": model.config.intermediate_size,
        "timings": timings,
        "output_unchanged": unchanged,
        "rebuilt_error": max(errors.values()),
        "scores": scores,
        "seconds of the paper's evaluation": seconds,
        "uniform": uniform_importance(SHORT).tolist(),
    }


def _timed(call: Callable[[], object], device: str) -> dict[str, float | None]:
    """Least of three runs after one that loads and compiles, and the peak memory of the last."""
    cuda = device != "cpu"
    call()
    times = []
    for _ in range(3):
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 1e9 if cuda else None
    return {"seconds": min(times), "peak GB": peak}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="falcon_shape", description=__doc__.partition("\n")[0])
    parser.add_argument("--record", required=True, metavar="FILE")
    parser.add_argument("--layers", type=int, default=64, metavar="N")
    parser.add_argument("--width", type=int, default=4096, metavar="N")
    parser.add_argument("--length", type=int, default=4096, metavar="N")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = vars(parser.parse_args(argv))
    record, began = arguments.pop("record"), time.perf_counter()
    device = arguments["device"]
    data = run(**arguments)
    records.save(
        record,
        data,
        parameters={name: arguments[name] for name in ("layers", "width", "length")},
        code=["tokensphere.paper.experiments.falcon_shape"],
        seconds=time.perf_counter() - began,
        seed=0,
        device=device,
    )
    print(data["timings"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
