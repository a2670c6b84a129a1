"""Which later tokens join the first, as one property of the parameters at a time is changed.

Parameters are drawn as in :mod:`tokensphere.paper.survey`, but for three dials: a `scale` of
S_Delta, and the `level` and the half-width `spread` of the rates, a_d = level (1 + spread u_d) with
u_d uniform on [-1, 1]. All settings of the dials see the same draws, so their differences are
paired.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import Any, Literal

import torch
from torch import Tensor

from tokensphere.door import array, each, instance, one_of, positive, takes, tensor, whole

from ..flow import MambaFlow, random_tokens, simulate

FORMS = ("Gaussian", "identity")
"""Laws of S_BC."""

NEAR = 0.01
"""Tokens nearer than this are together."""

BATCH = 50
"""Sequences that are integrated together; they share the steps of the fastest."""


@dataclass(frozen=True)
class Dials:
    """`scale` of S_Delta; `level` and relative half-width `spread` of the rates."""

    scale: float = 1.0
    level: float = 1.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        if self.scale < 0 or self.level <= 0 or not 0 <= self.spread < 1:
            raise ValueError(f"dials: got {self}, takes scale >= 0, level > 0, spread in [0, 1)")

    def __str__(self) -> str:
        return f"scale {self.scale:g}, level {self.level:g}, spread {self.spread:g}"


TURNED = {
    "spread of the rates": [Dials(spread=value) for value in (0, 0.005, 0.05, 0.2, 0.5)],
    "level of the rates": [Dials(level=value) for value in (0.1, 0.3, 1, 3, 10)],
    "scale of the steps": [Dials(scale=value) for value in (0, 0.1, 0.3, 1, 3)],
    "scale of the steps, rates spread by 0.5": [
        Dials(scale=value, spread=0.5) for value in (0, 0.1, 0.3, 1, 3)
    ],
}
"""One dial at a time, from scale 1, level 1 and spread 0 or 0.5."""


@takes(x=tensor("...", "L", "D", dtype="float64", unit=True, L=2))
def near_first(x: Tensor) -> Tensor:
    """Which later tokens are within NEAR of the first or of its antipode.

    Args:
        x: (..., L, D), unit rows, L at least 2.
    Returns:
        (..., L - 1), bool.
    """
    first, later = x[..., :1, :], x[..., 1:, :]
    apart = torch.minimum((later - first).norm(dim=-1), (later + first).norm(dim=-1))
    return apart < NEAR


@takes(
    form=one_of("Gaussian", "identity"),
    dim=whole(2),
    dials=instance(Dials),
    draws=whole(1),
    length=whole(2),
    horizon=positive(),
    seed=whole(0),
)
def follow(
    form: Literal["Gaussian", "identity"],
    dim: int,
    dials: Dials,
    *,
    draws: int,
    length: int = 8,
    horizon: float = 100.0,
    seed: int = 0,
) -> tuple[list[int], list[int]]:
    """Sequences in eq (6) from t = 0 to `horizon`, each with parameters of its own.

    Returns:
        For each sequence how many later tokens are :func:`near_first` at the end, and how many
        others are still moving, faster than 1e-4.
    Raises:
        ValueError: a form that is not in FORMS, or sizes below 1 (2 for `dim` and `length`).
    """
    if form not in FORMS:
        raise ValueError(f"form: got {form!r}, takes one of {', '.join(FORMS)}")
    for name, value, least in (("dim", dim, 2), ("draws", draws, 1), ("length", length, 2)):
        if value < least:
            raise ValueError(f"{name}: got {value}, takes {least} or more")
    generator = torch.Generator().manual_seed(seed)
    S_BC = torch.randn(draws, dim, dim, generator=generator, dtype=torch.float64)
    if form == "identity":
        S_BC = torch.eye(dim, dtype=torch.float64).repeat(draws, 1, 1)
    S_Delta = torch.randn(draws, dim, dim, generator=generator, dtype=torch.float64)
    u = 2 * torch.rand(draws, dim, generator=generator, dtype=torch.float64) - 1
    x0 = random_tokens(draws, length, dim, generator=generator)
    a = dials.level * (1 + dials.spread * u)
    times = torch.tensor([0.0, horizon], dtype=torch.float64)
    all_joined: list[int] = []
    all_moving: list[int] = []
    parts = zip(*(v.split(BATCH) for v in (S_BC, dials.scale * S_Delta, a, x0)), strict=True)
    for form_, steps, rates, start in parts:
        flow = MambaFlow(form_, steps, rates)
        x = simulate(flow, start, times, rtol=1e-6, atol=1e-8).tokens[-1]
        joined = near_first(x)
        fast = flow(x)[:, 1:].norm(dim=-1) > 1e-4
        all_joined += joined.sum(-1).tolist()
        all_moving += (fast & ~joined).sum(-1).tolist()
    return all_joined, all_moving


@takes(dims=each(whole(1)), draws=whole(1), horizon=positive(), seed=whole(0), workers=whole(1))
def one_dial_at_a_time(
    dims: Sequence[int], *, draws: int, horizon: float, seed: int, workers: int = 1
) -> dict[str, dict[str, list[str]]]:
    """:func:`follow`, with eight tokens, for all FORMS, `dims` and settings in TURNED.

    With several `workers` the settings run in as many processes, of one thread each.

    Returns:
        ``found["identity, D=3"]["scale 1, level 1, spread 0"]`` has two strings with a digit a
        sequence: how many later tokens joined, and how many others were still moving.
    """
    settings = {str(dials): dials for series in TURNED.values() for dials in series}
    cases = list(product(FORMS, dims, settings))
    run = partial(follow, draws=draws, horizon=horizon, seed=seed)
    arguments = zip(*((form, dim, settings[name]) for form, dim, name in cases), strict=True)
    if workers == 1:
        counts = list(map(run, *arguments))
    else:
        # Fresh processes: forked ones would inherit torch's thread pool in an unknown state.
        with ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool:
            counts = list(pool.map(run, *arguments))
    found: dict[str, dict[str, list[str]]] = {}
    for (form, dim, name), both in zip(cases, counts, strict=True):
        found.setdefault(f"{form}, D={dim}", {})[name] = ["".join(map(str, each)) for each in both]
    return found


@takes(values=array("n", kinds="fib", n=2))
def mean_and_error(values: Any) -> tuple[float, float]:
    """The mean of independent values, (n,), and its standard error.

    Raises:
        ValueError: less than two values.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if values.numel() < 2:
        raise ValueError(f"values: got {values.numel()}, takes two or more")
    return float(values.mean()), float(values.std() / math.sqrt(values.numel()))
