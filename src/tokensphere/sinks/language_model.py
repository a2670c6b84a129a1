"""Trains a causal Mamba language model on plain text: the model whose sinks the book measures.

    python -m tokensphere.sinks.language_model --text FILE --heldout FILE --out DIR

The model is transformers' `MambaForCausalLM`, the tokenizer a byte-level BPE trained on the same
text. Windows of the text are drawn at random; a share `bos` of them begins with a
beginning-of-text token, so that one model knows sequences with and without. A run that was killed
goes on where its last checkpoint stands, with the windows that it would have drawn: started again
with the same arguments it ends as if it had never stopped, up to the device's rounding.

Files may be compressed with xz; documents in them end with U+0003.

One file of over 400 lines until its records are next renewed: its code stands behind them.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokensphere import checkpoint, records

BOS, END = "<|bos|>", "<|end|>"
"""The tokens that begin a text and end a document."""


@dataclass(frozen=True)
class Config:
    """One training run.

    layers, width, states: the Mamba's depth, residual width D / 2 and N.
    vocabulary: tokens of the BPE, the two special ones included.
    context, batch: tokens in a window, windows in a step.
    steps, warmup: optimiser steps in all, and those of the linear warm-up before the cosine decay.
    rate, decay: AdamW's peak learning rate and weight decay; betas 0.9, 0.95, clipped at norm 1.
    bos: share of the windows that begin with the beginning-of-text token.
    seed: of the weights and of the windows.
    """

    layers: int = 24
    width: int = 192
    states: int = 16
    vocabulary: int = 4096
    context: int = 512
    batch: int = 128
    steps: int = 4000
    warmup: int = 200
    rate: float = 3e-3
    decay: float = 0.1
    bos: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("seed", "warmup", "decay", "bos") and not value > 0:
                raise ValueError(f"{field.name}: got {value}, takes a positive number")
        if not 0 <= self.bos <= 1:
            raise ValueError(f"bos: got {self.bos}, takes a share from 0 to 1")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup: got {self.warmup}, takes less than steps = {self.steps}")


def read_documents(path: str | os.PathLike[str]) -> list[str]:
    """The documents of a text file, .xz or plain UTF-8, split at U+0003."""
    path = Path(path)
    with (
        lzma.open(path, "rt", encoding="utf-8")
        if path.suffix == ".xz"
        else path.open(encoding="utf-8") as stream
    ):
        documents = [text.strip() for text in stream.read().split("\x03")]
    documents = [text for text in documents if text]
    if not documents:
        raise ValueError(f"{path}: holds no text")
    return documents


def train_tokenizer(documents: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE as a transformers tokenizer; BOS begins a text where it is asked for."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    model = ByteLevelBPETokenizer()
    model.train_from_iterator(
        documents, vocab_size=vocabulary, special_tokens=[BOS, END], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model._tokenizer, bos_token=BOS, eos_token=END, pad_token=END
    )


def encode(tokenizer: Any, documents: Iterable[str]) -> np.ndarray:
    """The documents' tokens in one row, each document closed by END, as uint16."""
    end = tokenizer.eos_token_id
    rows = tokenizer.backend_tokenizer.encode_batch(list(documents), add_special_tokens=False)
    return np.concatenate([np.array([*row.ids, end], dtype=np.uint16) for row in rows])


def windows(tokens: Tensor, config: Config, step: int, bos: int) -> Tensor:
    """The windows of one step, (batch, context + 1): a function of the seed and the step alone."""
    g = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    length = config.context + 1
    starts = torch.randint(len(tokens) - length + 1, (config.batch,), generator=g)
    begins = torch.rand(config.batch, generator=g) < config.bos
    batch = torch.stack([tokens[start : start + length] for start in starts.tolist()]).long()
    batch[begins] = torch.nn.functional.pad(batch[begins][:, :-1], (1, 0), value=bos)
    return batch


def build(config: Config, tokenizer: Any) -> torch.nn.Module:
    """The model with fresh weights, drawn from the seed without touching the global generator."""
    from transformers import MambaConfig, MambaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return MambaForCausalLM(
            MambaConfig(
                vocab_size=config.vocabulary,
                hidden_size=config.width,
                state_size=config.states,
                num_hidden_layers=config.layers,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                rescale_prenorm_residual=True,
                use_cache=False,
            )
        )


def optimiser(model: torch.nn.Module, config: Config) -> tuple[Any, Any]:
    """AdamW with its schedule; vectors, decay rates and the skip are not decayed."""
    from transformers import get_cosine_schedule_with_warmup

    plain, decayed = [], []
    for name, value in model.named_parameters():
        (plain if value.ndim < 2 or "A_log" in name else decayed).append(value)
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.95), weight_decay=config.decay)
    return adam, get_cosine_schedule_with_warmup(adam, config.warmup, config.steps)


@torch.no_grad()
def heldout_loss(
    model: torch.nn.Module, tokens: Tensor, config: Config, bos: int | None
) -> dict[str, float]:
    """Mean loss in nats a token over consecutive windows, each beginning with `bos` if given.

    Its standard error is over windows, which are taken as independent.
    """
    length = config.context + 1 - (bos is not None)
    rows = tokens[: len(tokens) // length * length].long().view(-1, length)
    if bos is not None:
        rows = torch.nn.functional.pad(rows, (1, 0), value=bos)
    device = next(model.parameters()).device
    losses = []
    for batch in rows.split(config.batch):
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(batch[:, :-1], use_cache=False).logits
        # The token after BOS is met by both ways of counting, at another distance from its start.
        losses.append(
            torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), batch[:, 1:], reduction="none"
            ).mean(1)
        )
    found = torch.cat(losses).double()
    return {"loss": float(found.mean()), "error": float(found.std() / len(found) ** 0.5)}


def prompts(kept: Tensor, count: int, length: int, bos: int | None) -> Tensor:
    """`count` held-out prompts of `length` tokens, evenly spread, after `bos` if it is given."""
    own = length - (bos is not None)
    starts = torch.linspace(0, len(kept) - own, count).long()
    rows = torch.stack([kept[start : start + own] for start in starts.tolist()]).long()
    return rows if bos is None else torch.nn.functional.pad(rows, (1, 0), value=bos)


def sink_scores(
    model: torch.nn.Module, tokenizer: Any, kept: Tensor, *, count: int = 128, length: int = 64
) -> dict[str, Any]:
    """What each layer's tokens score on held-out prompts, with and without the first BOS.

    Returns for "bos" and "none", then for each variant of the score: `mean` over prompts and
    channels, (layers, length), and the interval `low`, `high` of the first token's, (layers,).
    """
    from tokensphere import sinks

    device = next(model.parameters()).device
    found: dict[str, Any] = {}
    for name, bos in {"bos": tokenizer.bos_token_id, "none": None}.items():
        batch = prompts(kept, count, length, bos).to(device)
        layers = sinks.measure(model, [batch])
        found[name] = {}
        for variant in sinks.VARIANTS:
            scores = torch.stack([layer.scores[variant] for layer in layers])
            low, high = sinks.interval(scores[..., 0].T)
            rates = torch.stack([layer.rates[variant][:, 0].mean() for layer in layers])
            found[name][variant] = {
                "mean": _rounded(scores.mean(1)),
                "low": _rounded(low),
                "high": _rounded(high),
                "rate": _rounded(rates),
            }
    return found


def _rounded(values: Tensor) -> Any:
    """Six digits are more than the intervals bear, and keep the history small."""
    return (
        [_rounded(row) for row in values]
        if values.ndim > 1
        else [float(f"{value:.6g}") for value in values.tolist()]
    )


def train(
    config: Config,
    text: str | os.PathLike[str],
    heldout: str | os.PathLike[str],
    out: str | os.PathLike[str],
    device: str,
    *,
    measure: Callable[[torch.nn.Module, Any, Tensor], dict[str, Any]] | None = None,
    moments: Sequence[int] = (),
    seconds: float | None = None,
) -> dict[str, Any]:
    """Train, or go on with a training that stopped, and return its history.

    measure: called with the model, the tokenizer and the held-out tokens before the steps in
        `moments` and after the last; what it returns is kept in the history.
    seconds: stop after as many, at a checkpoint; the next call goes on. None: to the end.

    Leaves in `out`: the model and its tokenizer as transformers reads them, in bf16 (once done),
    history.json, and while under way a checkpoint. Raises ValueError for a text too short, or for
    an `out` that holds another run's checkpoint.
    """
    from tqdm import trange

    began = time.perf_counter()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer, tokens, kept = _tokens(config, text, heldout, out)
    bos = tokenizer.bos_token_id
    model = build(config, tokenizer).to(device).train()
    adam, schedule = optimiser(model, config)
    history: dict[str, Any] = {
        "config": asdict(config),
        "parameters": sum(value.numel() for value in model.parameters()),
        "tokens": {"text": len(tokens), "heldout": len(kept)},
        "train": [],
        "heldout": [],
        "measured": {},
        "seconds": 0.0,
    }
    file = out / "checkpoint.pt"
    first = 0
    if file.is_file():
        state = checkpoint.load(file, device)
        if state["history"]["config"] != asdict(config):
            raise ValueError(f"out: {file} belongs to a run with another configuration")
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        schedule.load_state_dict(state["schedule"])
        history, first = state["history"], state["step"]
    before = history["seconds"]

    def look(step: int) -> None:
        model.eval()
        losses = {
            "bos": heldout_loss(model, kept, config, bos),
            "none": heldout_loss(model, kept, config, None),
        }
        history["heldout"].append({"step": step, **losses})
        if measure is not None:
            history["measured"][str(step)] = measure(model, tokenizer, kept)
        model.train()

    def keep(step: int) -> None:
        history["seconds"] = before + time.perf_counter() - began
        state = {"model": model.state_dict(), "adam": adam.state_dict(), "history": history}
        checkpoint.save(file, state | {"schedule": schedule.state_dict(), "step": step})

    running: list[Tensor] = []
    for step in trange(first, config.steps, desc="steps", disable=None, initial=first):
        if step in moments and str(step) not in history["measured"]:
            look(step)
        batch = windows(tokens, config, step, bos).to(device, non_blocking=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), batch[:, 1:].flatten()
        )
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        running.append(loss.detach())
        if (step + 1) % 50 == 0 or step + 1 == config.steps:
            history["train"].append({"step": step + 1, "loss": float(torch.stack(running).mean())})
            running = []
            over = seconds is not None and time.perf_counter() - began > seconds
            if over and step + 1 < config.steps:
                keep(step + 1)
                return history
            if (step + 1) % 1000 == 0:
                keep(step + 1)
    look(config.steps)
    keep(config.steps)
    model.eval().to(torch.bfloat16).save_pretrained(out, max_shard_size="14MB")
    tokenizer.save_pretrained(out)
    _write(out / "history.json", history)
    file.unlink()
    return history


def _tokens(
    config: Config, text: str | os.PathLike[str], heldout: str | os.PathLike[str], out: Path
) -> tuple[Any, Tensor, Tensor]:
    """The tokenizer, the text's tokens and the held-out text's, made once and kept in `out`."""
    from transformers import PreTrainedTokenizerFast

    file = out / "tokens.npz"
    if file.is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
        with np.load(file, allow_pickle=False) as stored:
            rows = [stored["text"], stored["heldout"]]
    else:
        documents = read_documents(text)
        tokenizer = train_tokenizer(documents, config.vocabulary)
        rows = [encode(tokenizer, documents), encode(tokenizer, read_documents(heldout))]
        tokenizer.save_pretrained(out)
        draft = file.with_suffix(".tmp.npz")
        np.savez(draft, text=rows[0], heldout=rows[1])
        os.replace(draft, file)
    for name, row in zip(("text", "heldout"), rows, strict=True):
        if len(row) <= config.context:
            raise ValueError(f"{name}: {len(row)} tokens, takes more than {config.context}")
    # uint16 is enough for the vocabulary, but torch indexes and compares little in it.
    return tokenizer, *(torch.from_numpy(row.astype(np.int32)) for row in rows)


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(draft, path)


def moments(steps: int) -> list[int]:
    """Steps before which the sinks are looked at: the start, then growing by powers of 10^(1/2)."""
    return sorted({0, *(round(steps * 10 ** (-k / 2)) for k in range(1, 5))})


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and with --record keep the history as a record; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="language_model", description=__doc__.partition("\n")[0])
    parser.add_argument("--text", required=True, metavar="FILE")
    parser.add_argument("--heldout", required=True, metavar="FILE")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--record", metavar="FILE", help="such as results/language_model.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for field in fields(Config):
        kind = type(field.default)
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, metavar="N")
    arguments = vars(parser.parse_args(argv))
    record = arguments.pop("record")
    place = [arguments.pop(name) for name in ("text", "heldout", "out", "device")]
    began = time.perf_counter()
    try:
        config = Config(**arguments)
        history = train(config, *place, measure=sink_scores, moments=moments(config.steps))
        if record:
            records.save(
                record,
                history,
                parameters=asdict(config),
                code=["tokensphere.sinks.language_model"],
                seconds=time.perf_counter() - began,
                seed=config.seed,
                device=place[-1],
            )
    except (ValueError, OSError) as error:
        print(f"language_model: {error}", file=sys.stderr)
        return 2
    print(json.dumps(history["heldout"][-1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
