"""Training of a causal Mamba language model on plain text, such as the models the book measures.

The model is transformers' `MambaForCausalLM`, the tokenizer a byte-level BPE trained on the same
text. Windows of the text are drawn at random; a share `bos` of them begins with a
beginning-of-text token, so that one model knows sequences with and without. A run that was killed
goes on where its last checkpoint stands, with the windows that it would have drawn: started again
with the same arguments it ends as if it had never stopped, up to the device's rounding.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokensphere import checkpoint, records
from tokensphere.paper.experiments import language_text

HISTORY = "history.json"
AVERAGED = 50
"""Steps that a training loss is the mean of."""
PATIENCE = 60.0
"""Seconds between two checkpoints, about: what a kill costs."""


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
    code: Sequence[str] = (__name__,),
) -> dict[str, Any]:
    """Train, or go on with a training that stopped, and return its history.

    measure: called with the model, the tokenizer and the held-out tokens before the steps in
        `moments` and after the last; what it returns is kept in the history.
    seconds: stop after as many, at a checkpoint; the next call goes on. None: to the end.
    code: the modules behind the run. The history has their digests, as in a record, and a run goes
        on by the same code alone.

    Leaves in `out` history.json, up to the `step` that it names; while under way a checkpoint, and
    at the end the model and its tokenizer as transformers reads them, in bf16. A run that is at its
    end is not trained again. Raises ValueError for a text too short, or for an `out` that holds a
    run of another configuration or other code.
    """
    from tqdm import trange

    began = time.perf_counter()
    out = Path(out)
    file = out / "checkpoint.pt"
    history: dict[str, Any] = {"config": asdict(config), "code": records.digests(code)}
    # The checkpoint is written before the history, and goes last.
    if (out / HISTORY).is_file() and not file.is_file():
        found = read_history(out)
        _assert_same_run(found, history, out)
        return found
    out.mkdir(parents=True, exist_ok=True)
    tokenizer, tokens, kept = language_text.prepare(config.vocabulary, text, heldout, out)
    for name, row in {"text": tokens, "heldout": kept}.items():
        if len(row) <= config.context:
            raise ValueError(f"{name}: {len(row)} tokens, takes more than {config.context}")
    bos = tokenizer.bos_token_id
    model = build(config, tokenizer).to(device).train()
    adam, schedule = optimiser(model, config)
    history |= {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "parameters": sum(value.numel() for value in model.parameters()),
        "tokens": {"text": len(tokens), "heldout": len(kept)},
        "step": 0,
        "train": [],
        "heldout": [],
        "measured": {},
        "seconds": 0.0,
    }
    if file.is_file():
        state = checkpoint.load(file, device)
        _assert_same_run(state["history"], history, file)
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        schedule.load_state_dict(state["schedule"])
        history = state["history"]
    before, last = history["seconds"], began

    def look(step: int) -> None:
        if step in (entry["step"] for entry in history["heldout"]):
            return
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
        history["step"], history["seconds"] = step, before + time.perf_counter() - began
        state = {"model": model.state_dict(), "adam": adam.state_dict(), "history": history}
        checkpoint.save(file, state | {"schedule": schedule.state_dict()})
        with records.write_whole(out / HISTORY) as stream:
            stream.write((json.dumps(history, indent=1, allow_nan=False) + "\n").encode())

    running: list[Tensor] = []
    first = history["step"]
    for step in trange(first, config.steps, desc="steps", disable=None, initial=first):
        if step in moments:
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
        done = step + 1
        if done % AVERAGED == 0 or done == config.steps:
            history["train"].append({"step": done, "loss": float(torch.stack(running).mean())})
            running = []
            now = time.perf_counter()
            over = seconds is not None and now - began > seconds and done < config.steps
            if over or now - last > PATIENCE:
                keep(done)
                last = now
            if over:
                return history
    look(config.steps)
    keep(config.steps)
    model.eval().to(torch.bfloat16).save_pretrained(out, max_shard_size="14MB")
    tokenizer.save_pretrained(out)
    file.unlink()
    return history


def read_history(out: str | os.PathLike[str]) -> dict[str, Any]:
    """What :func:`train` left in a folder of its runs so far.

    Raises FileNotFoundError where there is none, ValueError for one that is not whole.
    """
    file = Path(out) / HISTORY
    try:
        return json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: no history of a training: {error}") from None


def _assert_same_run(found: dict[str, Any], own: dict[str, Any], where: Path) -> None:
    for key, name in {"config": "configuration", "code": "code"}.items():
        if found[key] != own[key]:
            raise ValueError(f"out: {where} belongs to a run with another {name}")
