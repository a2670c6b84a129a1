"""`python -m benchmarks [NAME...] [--out FILE]`: run benchmarks, print their tables."""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from tokensphere import records

from .measure import THREADS

NAMES = (
    "simulate",
    "field",
    "scan",
    "column_sums",
    "hidden_attention",
    "selective_scan",
    "attention_flow",
)
GPU_NAMES = ("column_sums_gpu", "permute_gpu")
"""Run only when named: they need a CUDA device, and the first mamba-ssm as a peer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, all by default; 2 for a name or file that cannot be used."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Speed against peers.")
    known = NAMES + GPU_NAMES
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--out", metavar="FILE", help="save a record, such as results/x.json")
    arguments = parser.parse_args(argv)
    names = arguments.names or NAMES
    for name in names:
        if name not in known:
            return _complain(f"{name!r}: no such benchmark; takes {', '.join(known)}")
        if name in GPU_NAMES and not torch.cuda.is_available():
            return _complain(f"{name}: needs a CUDA device")
    # Before the run: a mistake here should not cost minutes.
    if arguments.out and Path(arguments.out).is_dir():
        return _complain(f"--out: {arguments.out} is a folder")

    start = time.perf_counter()
    print(f"torch {torch.__version__}, {' and '.join(map(str, THREADS))} threads\n", flush=True)
    data, sizes = {}, {}
    for name in names:
        benchmark = importlib.import_module(f".{name}", __package__)
        tables = benchmark.run()
        print(*tables, sep="\n\n", end="\n\n", flush=True)
        data[name] = [asdict(table) for table in tables]
        sizes[name] = benchmark.SIZES
    if arguments.out:
        try:
            records.save(
                arguments.out,
                data,
                parameters={"threads": THREADS, "sizes": sizes},
                code=["tokensphere." + name for name in ("flow", "s6", "reorder.wrapping")],
                seconds=time.perf_counter() - start,
                seed=0,
                device="cuda:0" if set(names) & set(GPU_NAMES) else "cpu",
            )
        except OSError as error:
            return _complain(f"--out: {error}")
    return 0


def _complain(message: str) -> int:
    print(f"benchmarks: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
