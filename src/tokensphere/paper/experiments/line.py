"""Predictions of tokens on the line against two integrations, over random parameters and starts.

    python -m tokensphere.paper.experiments.line --record results/line.json

A draw: 1 to 16 tokens, Gaussian times a common log-normal size, each zero with probability 0.15;
mu and s Gaussian, s zero with probability 0.05; a log-uniform from 0.05 to 5; in a fifth of the
draws all tokens have s x <= 0, so that mu > 0 gives slow growth. What is compared:

- "to zero": the constants with t x_l^2 at ln t = 3000;
- "slow": the first token with its closed form at ln t = 1e5; that the others' constants exceed 1;
- "blow-up": the time with its bounds, with the trajectory towards it, and with the time and the
  first token of a plain integration in t, eighth order, of another field and without the clock; the
  powers; that the tokens before the first stay and all later ones grow.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch.nn.functional import softplus
from tqdm import tqdm

from tokensphere import records
from tokensphere.one_dimension import (
    Prediction,
    approach,
    growth,
    predict,
    simulate,
    time_alone,
    time_bounds,
)

VISIBLE = 1e-9
"""Growth of a logarithm that the integration resolves."""
MODULE = "tokensphere.paper.experiments.line"
LIMITS = {
    "constants": 1e-6,
    "first slow token": 1e-6,
    "least other constant": 0.0,
    "time outside its bounds": 1e-8,
    "time in the clock": 1e-8,
    "time of a plain integration": 1e-6,
    "powers": 1e-6,
    "tokens before the first": 1e-9,
    "later tokens that do not grow": 0.0,
}
"""How large each error may be; all are relative, or of a logarithm of a token.

The clock's integration keeps 1e-10 a step, which makes about 1e-8 of a time and 1e-7 of a constant.
"""


@dataclass(frozen=True)
class Draw:
    """Parameters and first values."""

    mu: float
    s: float
    a: float
    x0: list[float]


def draw(seed: int, number: int) -> Draw:
    """One draw, a function of the two."""
    rng = np.random.default_rng([seed, number])
    length = int(rng.integers(1, 17))
    mu, s = rng.standard_normal(2)
    s *= rng.random() > 0.05
    a = math.exp(rng.uniform(math.log(0.05), math.log(5.0)))
    x0 = rng.standard_normal(length) * math.exp(rng.standard_normal())
    x0[rng.random(length) < 0.15] = 0.0
    if rng.random() < 0.2:
        x0 = -np.copysign(1.0, s) * np.abs(x0)
    return Draw(float(mu), float(s), a, x0.tolist())


def errors(one: Draw) -> tuple[str, dict[str, float]]:
    """The kind that is predicted, and by name how far the integrations are from it."""
    said = predict(one.mu, one.s, one.a, one.x0)
    if said.kind == "to zero":
        run = simulate(one.mu, one.s, one.a, one.x0, [3000.0])
        reached = (2.0 * run.log_x[0] + 3000.0).exp()
        moving = said.constants > 0
        return said.kind, {"constants": _largest(reached[moving] / said.constants[moving] - 1.0)}
    if said.kind == "slow":
        y = abs(one.s) * simulate(one.mu, one.s, one.a, one.x0, [1e5]).x[0].abs()
        first = said.diverging[0]
        others = y[said.constants.isnan()] / y[first]
        return said.kind, {
            "first slow token": abs(float(y[first]) / growth.first_token(one.mu, one.s, 1e5) - 1.0),
            "least other constant": _largest((1.0 - others).clamp(min=0.0)),
        }
    if said.kind == "blow-up" and said.first is not None:
        return said.kind, _blow_up(one, said)
    return said.kind, {}


def _largest(values: torch.Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _blow_up(one: Draw, said: Prediction) -> dict[str, float]:
    low, high = time_bounds(one.mu, one.s, one.a, one.x0)
    start = math.log(abs(one.x0[said.first]))
    run = approach(one.mu, one.s, one.a, one.x0, [start + 30.0, start + 1e3, 1e12])
    grown = (run.log_x[-1] - run.log_x[0]).tolist()
    still, previous = 0, said.first
    for l in said.diverging[1:]:
        # What a token lets through of the one before it: next to nothing, where double logarithms
        # follow one another.
        zeros = l - previous - 1
        step = float(softplus(torch.tensor(one.s * float(run.x[0, l]))))
        comes = grown[previous] * math.exp(-one.a * (step + zeros * math.log(2.0)))
        still += comes > VISIBLE and not grown[l] > 0.0
        previous = l
    before = [l for l in range(said.first) if one.x0[l]]
    found = {
        "time outside its bounds": max(low / said.time - 1.0, said.time / high - 1.0, 0.0),
        "time in the clock": abs(math.expm1(float(run.log_times[-1]) - math.log(said.time))),
        "powers": _largest(run.log_x[-1].clamp(min=0.0) / 1e12 - said.constants),
        # With s = 0 a token may be second by little: it stands still later than the others.
        "tokens before the first": _largest((run.log_x[-1] - run.log_x[1])[before]),
        "later tokens that do not grow": float(still),
    }
    plain = plain_blow_up(one)
    if plain is not None:
        time, first = plain
        found["time of a plain integration"] = (
            abs(time / said.time - 1.0) if first == said.first else math.inf
        )
    return found


def plain_blow_up(one: Draw) -> tuple[float, int] | None:
    """Time and first token of a blow-up, by integration in t until next to nothing is left.

    None where no token is far ahead of the others by then, which happens where s is zero or small.
    """
    x0 = np.array(one.x0)
    able = (one.s * np.sign(x0) >= 0.0) & (x0 != 0.0)

    def field(t: float, x: np.ndarray) -> np.ndarray:
        steps = np.logaddexp(0.0, one.s * x)
        own, kept = (steps * x * x).tolist(), np.exp(-one.a * steps).tolist()
        before, weights = 0.0, []
        for drive, passes in zip(own, kept, strict=True):
            before = drive + passes * before
            weights.append(before)
        return one.mu * x * np.array(weights)

    def left(x: np.ndarray) -> np.ndarray:
        own = np.logaddexp(0.0, one.s * x) * x * x
        return 1.0 / (2.0 * one.mu * np.where(able, own, 1e-300))

    def reached(t: float, x: np.ndarray) -> float:
        return float(left(x).min() / scale) - 1e-9

    scale = float(left(x0).min())
    reached.terminal = True
    with np.errstate(all="ignore"):  # a trial step past the blow-up overflows, and is rejected
        run = solve_ivp(
            field, (0.0, 2.0 * scale), x0, "DOP853", events=reached, rtol=1e-11, atol=1e-300
        )
    end = run.y[:, -1]
    order = np.argsort(left(end))
    first = int(order[0])
    if len(order) > 1 and left(end)[order[1]] < 1e3 * left(end)[first]:
        return None
    return float(run.t[-1]) + time_alone(one.mu, one.s, float(end[first])), first


def _compare(task: tuple[int, int]) -> tuple[str, dict[str, float]]:
    torch.set_num_threads(1)
    return errors(draw(*task))


def agreement(seed: int, count: int, processes: int = 1) -> dict[str, object]:
    """Over `count` draws: how many of each kind, the largest errors, and the disagreements.

    A disagreement is an error above its entry in LIMITS; `disagreements` has the draws.
    """
    tasks = [(seed, number) for number in range(count)]
    if processes == 1:
        found = list(map(_compare, tasks))
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            found = list(tqdm(pool.imap(_compare, tasks, 8), total=count, disable=None))
    kinds: dict[str, int] = {}
    worst = dict.fromkeys(LIMITS, 0.0)
    compared = dict.fromkeys(LIMITS, 0)
    disagreements = []
    for task, (kind, made) in zip(tasks, found, strict=True):
        kinds[kind] = kinds.get(kind, 0) + 1
        for name, error in made.items():
            compared[name] += 1
            worst[name] = max(worst[name], error)
        if any(not error <= LIMITS[name] for name, error in made.items()):
            disagreements.append(asdict(draw(*task)) | {"number": task[1]})
    return {
        "kinds": kinds,
        "compared": compared,
        "largest errors": worst,
        "disagreements": disagreements,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and keep the record."""
    parser = argparse.ArgumentParser(prog="line", description=__doc__.partition("\n")[0])
    parser.add_argument("--record", required=True, metavar="FILE")
    parser.add_argument("--draws", type=int, default=4000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    arguments = parser.parse_args(argv)
    if min(arguments.draws, arguments.processes) < 1:
        print("line: --draws and --processes take positive numbers", file=sys.stderr)
        return 2
    began = time.perf_counter()
    found = agreement(arguments.seed, arguments.draws, arguments.processes)
    if found["disagreements"]:
        print(f"line: {len(found['disagreements'])} disagreements", file=sys.stderr)
    records.save(
        arguments.record,
        found,
        parameters={"draws": arguments.draws},
        code=[MODULE],
        seconds=time.perf_counter() - began,
        seed=arguments.seed,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
