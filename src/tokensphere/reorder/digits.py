"""The experiment's five orders on scikit-learn's digits, on a CPU: a plain S6 classifier.

    python -m tokensphere.reorder.digits --record FILE

trains four S6 layers over 16 tokens, which see one another nowhere else, as `configs/digits.json`
says, in each of `experiment.ARMS` for each of `SEEDS` seeds: an hour of one core. FILE is written
anew after each run; started again with a FILE that exists, it makes the runs that are missing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tokensphere import records
from tokensphere.reorder import experiment, recipe
from tokensphere.reorder.recipe import Config

SEEDS = 10


def config(arm: str, seed: int) -> Config:
    """Of one run: the digits' file, with the policy that this arm has on CIFAR-10."""
    digits = recipe.read(experiment.configs() / "digits.json", seed)
    return replace(digits, policy=experiment.config("s6-small", arm, 0).policy)


def parameters() -> dict[str, Any]:
    """What a record of these runs was made with."""
    configs = {arm: asdict(config(arm, 0)) for arm in experiment.ARMS}
    return {"configs": configs, "seeds": SEEDS}


def run_all(file: Path) -> None:
    """Make the runs that the record `file` lacks, one on each core."""
    began, asked = time.perf_counter(), parameters()
    runs = records.load(file, parameters=asked).data["runs"] if file.is_file() else []
    done = {(found["arm"], found["seed"]) for found in runs}
    plan = [(arm, seed) for seed in range(SEEDS) for arm in experiment.ARMS]
    todo = [key for key in plan if key not in done]
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(cores, torch.set_num_threads, (1,)) as pool:
        for found in tqdm(pool.imap_unordered(_run, todo), "runs", len(todo), disable=None):
            runs.append(found)
            runs.sort(key=lambda one: (experiment.ARMS.index(one["arm"]), one["seed"]))
            seconds = time.perf_counter() - began
            code = ["tokensphere.reorder.digits"]
            records.save(file, {"runs": runs}, parameters=asked, code=code, seconds=seconds)


def _run(key: tuple[str, int]) -> dict[str, Any]:
    arm, seed = key
    with tempfile.TemporaryDirectory() as out:
        return {"arm": arm, **experiment.run(config(arm, seed), out)}


def main(argv: Sequence[str] | None = None) -> int:
    """Make the record; exit code 2 for bad input, with one line."""
    parser = argparse.ArgumentParser(prog="digits", description=__doc__.partition("\n")[0])
    parser.add_argument("--record", required=True, type=Path, metavar="FILE")
    try:
        run_all(parser.parse_args(argv).record)
    except (ValueError, OSError) as error:
        print(f"digits: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
