"""Counts over random parameters: where first tokens end, and whether later tokens follow.

The paper's simulations draw parameters at random without saying from which law. Here S_Delta has
independent standard Gaussian entries and S_BC has too, or is the identity; the a_d are uniform on
[0.5, 1.5] and independent, or all 1; tokens are uniform on the sphere. Then <S_{Delta,d}, y> is
standard Gaussian at every y whatever D, and the root mean square of <y, S_BC y> is 1 for both laws,
so that dimensions can be compared. Every draw has parameters of its own.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from tokensphere import records
from tokensphere.door import device as a_device
from tokensphere.door import (
    each,
    function,
    instance,
    one_of,
    positive,
    takes,
    tensor,
    whole,
)
from tokensphere.door import number as a_number
from tokensphere.first_token.ends import KINDS, UNRESOLVED, settle
from tokensphere.flow import MambaFlow, random_tokens, simulate

__all__ = [
    "DECAYS",
    "ENDS",
    "LAWS",
    "draw",
    "first_tokens",
    "interval",
    "later_tokens",
    "run",
    "turning",
]

LAWS = ("Gaussian", "identity")
"""Laws of S_BC."""

DECAYS = ("independent", "equal")
"""Laws of a: a_d independent between channels, or all 1."""

ENDS = ("at the first token", "at its antipode", "elsewhere at rest", "still moving")
"""What a later token is doing at the end of a run, relative to the first token."""


@takes(
    law=one_of("Gaussian", "identity"),
    dim=whole(1),
    count=whole(1),
    generator=instance(torch.Generator),
    decays=one_of("independent", "equal"),
)
def draw(
    law: str, dim: int, count: int, generator: torch.Generator, decays: str = "independent"
) -> tuple[Tensor, Tensor, Tensor]:
    """S_BC and S_Delta, (count, D, D), and a, (count, D), by the module's laws.

    Raises: ValueError for a law that is not in LAWS, or decays not in DECAYS.
    """
    for name, value, known in (("law", law, LAWS), ("decays", decays, DECAYS)):
        if value not in known:
            raise ValueError(f"{name}: got {value!r}, takes one of {', '.join(known)}")
    shape = (count, dim, dim)
    S_BC = torch.randn(shape, generator=generator, dtype=torch.float64)
    if law == "identity":
        S_BC = torch.eye(dim, dtype=torch.float64).repeat(count, 1, 1)
    S_Delta = torch.randn(shape, generator=generator, dtype=torch.float64)
    a = 0.5 + torch.rand(count, dim, generator=generator, dtype=torch.float64)
    return S_BC, S_Delta, torch.ones_like(a) if decays == "equal" else a


@takes(start=tensor("..."), other=tensor("..."), frequency=a_number())
def turning(
    start: Tensor, other: Tensor, frequency: float = 1.0
) -> Callable[[Tensor | float], Tensor]:
    """A parameter that depends on depth: cos(frequency t) start + sin(frequency t) other.

    For independent standard Gaussian matrices its law is the same at every t.
    """

    def parameter(t: Tensor | float) -> Tensor:
        angle = torch.as_tensor(frequency * t, dtype=start.dtype, device=start.device)
        return angle.cos() * start + angle.sin() * other

    return parameter


@takes(
    law=one_of("Gaussian", "identity"),
    dim=whole(1),
    draws=whole(1),
    seed=whole(0),
    horizon=positive(),
    batch=whole(1),
    device=a_device(),
    each=function(),
)
def first_tokens(
    law: str,
    dim: int,
    draws: int,
    seed: int,
    horizon: float,
    batch: int = 100,
    device: str = "cpu",
    each: Callable = map,
) -> dict[str, int]:
    """How many of `draws` first tokens end at each of KINDS (see :func:`first_token.settle`).

    "unresolved" is split: "still moving" counts those whose orbit's speed exceeds 1e-3. The draws
    do not depend on `batch`. It is small because a batch shares the steps of its fastest orbit.
    `each` maps a function over the batches, as the builtin does, or an executor's ``map``.
    """
    generator = torch.Generator().manual_seed(seed)
    S_BC, S_Delta, _ = draw(law, dim, draws, generator)
    y0 = random_tokens(draws, dim, generator=generator)
    counts = dict.fromkeys((*KINDS, "still moving"), 0)
    follow = partial(_first_batch, horizon=horizon, device=device)
    title = f"first tokens, D={dim}, {law}"
    for found in _batches(follow, (S_BC, S_Delta, y0), batch, each, title):
        for key, number in found.items():
            counts[key] += number
    return counts


def _first_batch(parts: tuple[np.ndarray, ...], horizon: float, device: str) -> dict[str, int]:
    ends = settle(*_tensors(parts, device), horizon, rtol=1e-7)
    counts = {kind: int((ends.kind == index).sum()) for index, kind in enumerate(KINDS)}
    counts["still moving"] = int(((ends.kind == UNRESOLVED) & (ends.speed > 1e-3)).sum())
    counts[KINDS[UNRESOLVED]] -= counts["still moving"]
    return counts


@takes(
    law=one_of("Gaussian", "identity"),
    dim=whole(1),
    draws=whole(1),
    seed=whole(0),
    horizon=positive(),
    decays=one_of("independent", "equal"),
    length=whole(1),
    batch=whole(1),
    device=a_device(),
    each=function(),
)
def later_tokens(
    law: str,
    dim: int,
    draws: int,
    seed: int,
    horizon: float,
    decays: str = "independent",
    length: int = 8,
    batch: int = 100,
    device: str = "cpu",
    each: Callable = map,
) -> dict[str, dict[str, list[int]]]:
    """What the tokens after the first do by time `horizon` in eq (6), by where the first one ends.

    For each of KINDS and each of ENDS, a histogram: entry k is the number of sequences whose first
    token ends so and of whose `length` - 1 later tokens k end so. Tokens are together when less
    than 0.01 apart, and at rest when slower than 1e-4. The draws do not depend on `batch`; `each`
    is as for :func:`first_tokens`.
    """
    generator = torch.Generator().manual_seed(seed)
    S_BC, S_Delta, a = draw(law, dim, draws, generator, decays)
    x0 = random_tokens(draws, length, dim, generator=generator)
    table = {kind: {end: [0] * length for end in ENDS} for kind in KINDS}
    follow = partial(_later_batch, horizon=horizon, device=device)
    title = f"later tokens, D={dim}, {law}, a {decays}"
    for found in _batches(follow, (S_BC, S_Delta, a, x0), batch, each, title):
        for kind, end, number in found:
            table[KINDS[kind]][ENDS[end]][number] += 1
    return table


def _later_batch(
    parts: tuple[np.ndarray, ...], horizon: float, device: str
) -> list[tuple[int, int, int]]:
    """(index of the first token's kind, index of the end, how many tokens) for each sequence."""
    *parameters, start = _tensors(parts, device)
    flow = MambaFlow(*parameters)
    times = torch.tensor([0.0, horizon], dtype=torch.float64)
    x = simulate(flow, start, times, rtol=1e-6, atol=1e-8).tokens[-1]
    kinds = settle(*parameters[:2], start[:, 0], horizon, rtol=1e-7).kind.tolist()
    first, later = x[:, :1], x[:, 1:]
    near = (later - first).norm(dim=-1) < 0.01
    opposite = (later + first).norm(dim=-1) < 0.01
    settled = near | opposite
    resting = flow(x)[:, 1:].norm(dim=-1) < 1e-4
    groups = (near, opposite, ~settled & resting, ~settled & ~resting)
    return [
        (kind, end, number)
        for end, which in enumerate(groups)
        for kind, number in zip(kinds, which.sum(-1).tolist(), strict=True)
    ]


def _batches(
    function: Callable, values: tuple[torch.Tensor, ...], batch: int, each: Callable, title: str
) -> Iterator:
    """`function` of the batches of `values`, by `each`, with a progress bar."""
    # As arrays: a tensor sent to another process would need shared memory of its own.
    parts = list(zip(*([v.numpy() for v in value.split(batch)] for value in values), strict=True))
    return tqdm(each(function, parts), total=len(parts), desc=title, disable=None)


def _tensors(parts: tuple[np.ndarray, ...], device: str) -> list[torch.Tensor]:
    return [torch.from_numpy(part).to(device) for part in parts]


@takes(
    draws=whole(1),
    dims=each(whole(1)),
    seed=whole(0),
    horizon=positive(),
    follow=positive(),
    device=a_device(),
    workers=whole(1),
)
def run(
    path: str | Path,
    *,
    draws: int,
    dims: list[int],
    seed: int,
    horizon: float,
    follow: float,
    device: str = "cpu",
    workers: int = 1,
) -> records.Record:
    """The whole survey, kept as a record at `path`: both counts for all laws and `dims`.

    `horizon` bounds :func:`first_tokens`, `follow` bounds :func:`later_tokens`. Each finished part
    is kept in a record beside `path`, so that a run that was killed goes on where it was. With
    several `workers` the batches of a part run in as many processes, of one thread each.

    Raises:
        ValueError: `workers` below 1.
    Returns:
        The record; ``data["first"]["Gaussian, D=3"]`` is the result of :func:`first_tokens`,
        ``data["later"]["Gaussian, D=3, equal"]`` that of :func:`later_tokens`.
    """
    if workers < 1:
        raise ValueError(f"workers: got {workers}, takes 1 or more")
    path = Path(path)
    unfinished = path.with_suffix(".partial.json")
    parameters = {
        "draws": draws,
        "dims": list(dims),
        "horizon": horizon,
        "follow": follow,
        "seed": seed,
    }
    data: dict = {"first": {}, "later": {}}
    seconds = 0.0
    if unfinished.exists():
        earlier = records.load(unfinished, parameters=parameters)
        data, seconds = earlier.data, earlier.seconds

    def keep(where: Path) -> None:
        records.save(
            where,
            data,
            parameters=parameters,
            code=[__name__],
            seconds=seconds + time.perf_counter() - began,
            seed=seed,
            device=device,
        )

    began = time.perf_counter()
    # Fresh processes: forked ones would inherit torch's thread pool in an unknown state.
    pool = (
        nullcontext()
        if workers == 1
        else ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=torch.set_num_threads,
            initargs=(1,),
        )
    )
    with pool as executor:
        options = {"seed": seed, "device": device, "each": executor.map if executor else map}
        for dim in dims:
            for law in LAWS:
                key = f"{law}, D={dim}"
                if key not in data["first"]:
                    data["first"][key] = first_tokens(law, dim, draws, horizon=horizon, **options)
                    keep(unfinished)
                for decays in DECAYS:
                    key = f"{law}, D={dim}, {decays}"
                    if key not in data["later"]:
                        data["later"][key] = later_tokens(
                            law, dim, draws, horizon=follow, decays=decays, **options
                        )
                        keep(unfinished)
    keep(path)
    unfinished.unlink()
    return records.load(path, parameters=parameters)


@takes(successes=whole(0), trials=whole(1))
def interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95% Wilson interval of a binomial fraction."""
    bounds = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)
