"""Trains language models with and without held signs of S_C^T S_B: the earlier paper's refinement.

    python -m tokensphere.paper.experiments.refinement --text FILE --heldout FILE --out RUNS.json

The plan, `configs/refinement.json`, was committed before the runs: the model, the arms, the seeds,
the comparison and its margin. Arms of one seed share initial weights, but for what an arm replaces,
and every window of text. The model, its optimiser and its windows are those of
`experiments.language_model`; initial weights are drawn as mamba-ssm draws them, because
transformers' are several times larger and the sizes of B and C are part of the question.

One process a GPU takes runs off a queue, all arms of a seed before the next seed. RUNS.json is
rewritten whole after each run; started again with it, only what is missing runs.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokensphere import records, refine, s6
from tokensphere.paper.experiments import language_model as lm
from tokensphere.paper.experiments import language_text
from tokensphere.sinks.capture import each_layer

MODULE = "tokensphere.paper.experiments.refinement"
LOOKS = 8
"""Held-out losses along a run, the last included."""


def plan() -> dict[str, Any]:
    """What was committed before the runs."""
    file = records.path("refinement.json").parents[1] / "configs" / "refinement.json"
    return json.loads(file.read_text("utf-8"))


def tasks(plan: dict[str, Any]) -> list[tuple[str, int]]:
    """Arm and seed of every run, in the order in which they start."""
    return [(arm, seed) for seed in plan["seeds"] for arm in plan["arms"]]


def name(arm: str, seed: int) -> str:
    return f"{arm}/{seed}"


def build(config: lm.Config, tokenizer: Any, held: dict[str, Any] | None) -> nn.Module:
    """The model of a seed, its weights drawn as mamba-ssm's, constrained where the arm is."""
    model = lm.build(config, tokenizer)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(config.seed)
        nn.init.normal_(model.backbone.embeddings.weight, std=0.02)
        for mixer in refine.find_mixers(model).values():
            for linear in (mixer.in_proj, mixer.x_proj):
                nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
            bound = mixer.time_step_rank**-0.5
            nn.init.uniform_(mixer.dt_proj.weight, -bound, bound)
    if held is not None:
        refine.constrain(model, refine.InputOutput(**held))
    return model


def tokens(
    text: str | os.PathLike[str], heldout: str | os.PathLike[str], work: Path
) -> tuple[Any, Tensor, Tensor]:
    """Model 2's tokenizer, which was trained on this text, and the tokens of both, kept in `work`.

    int32, (n,) each.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(records.path("language_model"))

    def encoded(path: str | os.PathLike[str]) -> np.ndarray:
        return language_text.encode(tokenizer, language_text.read_documents(path))

    return tokenizer, *language_text.once(
        work / "tokens.npz", lambda: (encoded(text), encoded(heldout))
    )


def heldout_rows(kept: Tensor, context: int) -> Tensor:
    """Consecutive windows of the held-out text, (n, context + 1), none of which overlap."""
    length = context + 1
    return kept[: len(kept) // length * length].long().view(-1, length)


@torch.no_grad()
def window_losses(model: nn.Module, rows: Tensor, batch: int) -> Tensor:
    """Mean loss in nats a token of each window, (n,), float64, on the CPU."""
    device = next(model.parameters()).device
    found = []
    for part in rows.split(batch):
        part = part.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(part[:, :-1], use_cache=False).logits
        losses = nn.functional.cross_entropy(
            logits.float().transpose(1, 2), part[:, 1:], reduction="none"
        )
        found.append(losses.mean(1).double())
    return torch.cat(found).cpu()


@torch.no_grad()
def stream(model: nn.Module, rows: Tensor) -> dict[str, list[float]]:
    """The residual stream on held-out windows, by depth, averaged over all tokens.

    `log_norm`: of tokens before the first block and after each, (K + 1,). `added`: logarithm of the
    norm of what a block adds by that of the token, (K,). `cosine`: between the two, (K,).
    """
    device = next(model.parameters()).device
    found: dict[str, list[float]] = {"log_norm": [], "added": [], "cosine": []}

    def look(_: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        before, after = given[0].float(), (output[0] if isinstance(output, tuple) else output)
        added = after.float() - before
        if not found["log_norm"]:
            found["log_norm"].append(float(before.norm(dim=-1).log().mean()))
        found["log_norm"].append(float(after.float().norm(dim=-1).log().mean()))
        found["added"].append(float((added.norm(dim=-1) / before.norm(dim=-1)).log().mean()))
        found["cosine"].append(float(nn.functional.cosine_similarity(before, added, -1).mean()))

    hooks = [block.register_forward_hook(look) for block in model.backbone.layers]
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            model(rows[:, :-1].to(device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def supplies(model: nn.Module, rows: Tensor) -> dict[str, list[float]]:
    """By layer, over windows and channels: the share with sum_l Delta_l u_l y_l > 0, and the median
    cosine between Delta u and y over a window."""

    def look(layer: Any) -> tuple[float, float]:
        y = s6.scan(layer.u, *layer.tensors)
        cosine = nn.functional.cosine_similarity(layer.delta * layer.u, y, dim=-1)
        return float((cosine > 0).double().mean()), float(cosine.median())

    device = next(model.parameters()).device
    found = each_layer(model, rows[:, :-1].to(device), look)
    return {"positive": [pair[0] for pair in found], "median_cosine": [pair[1] for pair in found]}


def signatures(model: nn.Module) -> list[dict[str, Any]]:
    """Of every layer: signs of the symmetric part of S_C^T S_B, of the eigenvalues of the matrix
    itself, d where it is tied, and how large S_B and S_C are."""
    found = []
    for mixer in refine.find_mixers(model).values():
        S_B, S_C = refine.projections(mixer)
        signature, own = refine.signature(S_B, S_C), refine.spectrum(S_B, S_C)
        layer = {
            "positive": signature.positive,
            "negative": signature.negative,
            "positive_share": signature.positive_share,
            "least": float(signature.eigenvalues[0]),
            "largest": float(signature.eigenvalues[-1]),
            "own_positive": int((own.real > 0).sum()),
            "trace": float(own.real.sum()),
            "norms": [float(S_B.norm()), float(S_C.norm())],
        }
        if refine.constrained(mixer):
            tie = mixer.x_proj.parametrizations.weight
            layer["d"] = tie[0].diagonal(tie.original1.detach()).tolist()
        found.append(layer)
    return found


def look(model: nn.Module, rows: Tensor, config: lm.Config) -> dict[str, Any]:
    """What is measured before and after training, in evaluation."""
    model.eval()
    found = {
        "signatures": signatures(model),
        "stream": stream(model, rows[: config.batch]),
        "supply": supplies(model, rows[:: max(1, len(rows) // 8)][:8]),
    }
    model.train()
    return found


def train(plan: dict[str, Any], arm: str, seed: int, data: Any, device: str) -> dict[str, Any]:
    """One run, from its first step to its last: curves, losses, measures."""
    began = time.perf_counter()
    tokenizer, text, kept = data
    config = lm.Config(**plan["model"], seed=seed)
    model = build(config, tokenizer, plan["arms"][arm]).to(device).train()
    parameters = sum(value.numel() for value in model.parameters())
    rows = heldout_rows(kept, config.context)
    adam, schedule = lm.optimiser(model, config)
    moments = {round(config.steps * k / LOOKS) for k in range(1, LOOKS)}
    run: dict[str, Any] = {"arm": arm, "seed": seed, "parameters": parameters}
    run |= {"train": [], "heldout": [], "before": look(model, rows, config)}
    running: list[Tensor] = []
    for step in range(config.steps):
        batch = lm.windows(text, config, step, tokenizer.bos_token_id).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(batch[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        running.append(loss.detach())
        if (step + 1) % 50 == 0 or step + 1 == config.steps:
            run["train"].append([step + 1, float(torch.stack(running).mean())])
            running = []
        if step + 1 in moments:
            model.eval()
            losses = window_losses(model, rows, config.batch)
            run["heldout"].append([step + 1, float(losses.mean())])
            model.train()
    model.eval()
    losses = window_losses(model, rows, config.batch)
    run["heldout"].append([config.steps, float(losses.mean())])
    run |= {"after": look(model, rows, config), "windows": losses.tolist()}
    run["seconds"] = time.perf_counter() - began
    return rounded(run)


def rounded(value: Any) -> Any:
    """Seven digits are more than the runs bear, and keep the record small."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


# Many runs, on many GPUs.


def read(file: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The runs of a file so far; none where there is no file.

    Raises ValueError where they are of another plan or of other code.
    """
    empty = {
        "plan": plan,
        "code": records.digests([MODULE]),
        "seconds": 0.0,
        "device": None,
        "runs": {},
    }
    if not file.is_file():
        return empty
    found = json.loads(file.read_text("utf-8"))
    for key in ("plan", "code"):
        if found[key] != empty[key]:
            raise ValueError(f"out: {file} holds runs of another {key}")
    return found


def write(file: Path, content: dict[str, Any]) -> None:
    with records.write_whole(file) as stream:
        stream.write(json.dumps(content, allow_nan=False).encode())


def _work(device: str, number: int, plan: Any, places: Any, waiting: Any, done: Any) -> None:
    """One process: takes runs until there are none."""
    if device == "cuda":
        torch.cuda.set_device(number)
    data = tokens(*places)
    while True:
        task = waiting.get()
        if task is None:
            return
        try:
            done.put((task, train(plan, *task, data, device), None))
        except Exception as error:  # the other runs go on, and the caller says which one failed
            done.put((task, None, f"{type(error).__name__}: {error}"))


def run_all(
    plan: dict[str, Any], places: tuple[Any, Any, Path], file: Path, device: str, seconds: float
) -> list[str]:
    """Run what `file` lacks, and keep it there; returns a line for each run that failed.

    places: text, held-out text, and a folder for their tokens. seconds: no run starts that would
    not end within as many, as the runs before it took.
    """
    began = time.perf_counter()
    content = read(file, plan)
    before = content["seconds"]
    left = [task for task in tasks(plan) if name(*task) not in content["runs"]]
    tokens(*places)
    count = torch.cuda.device_count() if device == "cuda" else 1
    context = multiprocessing.get_context("spawn")
    waiting, done = context.SimpleQueue(), context.Queue()
    workers = [
        context.Process(target=_work, args=(device, k, plan, places, waiting, done), daemon=True)
        for k in range(min(count, len(left)))
    ]
    for worker in workers:
        worker.start()
    pending, slowest, failures = 0, 0.0, []
    for task in left[: len(workers)]:
        waiting.put(task)
        pending += 1
    left = left[len(workers) :]
    while pending:
        try:
            task, run, failure = done.get(timeout=5)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):
                failures.append("every process ended before its runs")
                break
            continue
        pending -= 1
        if failure:
            failures.append(f"{name(*task)}: {failure}")
        else:
            slowest = max(slowest, run["seconds"])
            where = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
            spent = time.perf_counter() - began
            content["runs"][name(*task)] = run
            content |= {"seconds": before + spent, "device": where}
            write(file, content)
            print(f"{name(*task)}: {run['heldout'][-1][1]:.4f}, {run['seconds']:.0f} s", flush=True)
        if left and time.perf_counter() - began + slowest < seconds:
            waiting.put(left.pop(0))
            pending += 1
    for _ in workers:
        waiting.put(None)
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and with --record keep what is whole as a record; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="refinement", description=__doc__.partition("\n")[0])
    parser.add_argument("--text", required=True, metavar="FILE")
    parser.add_argument("--heldout", required=True, metavar="FILE")
    parser.add_argument("--out", required=True, type=Path, metavar="RUNS.json")
    parser.add_argument("--work", type=Path, default=Path("refinement-tokens"), metavar="DIR")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S")
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(argv)
    chosen = plan()
    try:
        places = (given.text, given.heldout, given.work)
        failures = run_all(chosen, places, given.out, given.device, given.seconds)
        content = read(given.out, chosen)
    except (ValueError, OSError) as error:
        print(f"refinement: {error}", file=sys.stderr)
        return 2
    for failure in failures:
        print(f"refinement: {failure}", file=sys.stderr)
    missing = [name(*task) for task in tasks(chosen) if name(*task) not in content["runs"]]
    if given.record and not missing:
        records.save(
            given.record,
            {"runs": [content["runs"][name(*task)] for task in tasks(chosen)]},
            parameters=chosen,
            code=[MODULE],
            seconds=content["seconds"],
            device=given.device,
        )
    print(f"{len(missing)} runs are missing" if missing else "all runs are there")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
