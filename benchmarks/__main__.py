"""`python -m benchmarks [NAME...] [--out FILE]`: run benchmarks, print their tables."""

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from tokensphere import records

from .measure import THREADS

CODE = {
    "simulate": ("flow",),
    "field": ("flow", "s6"),
    "scan": ("s6",),
    "column_sums": ("s6",),
    "hidden_attention": ("s6",),
    "selective_scan": ("s6",),
    "attention_flow": ("flow",),
    "column_sums_gpu": ("s6",),
    "permute_gpu": ("reorder.wrapping",),
    "peer": ("s6", "sinks.capture", "sinks.scores"),
    "rerun": ("paper.rerun.batch", "paper.rerun.one", "paper.rerun.worker"),
}
"""The benchmarks, and the modules that each times."""
GPU_NAMES = ("column_sums_gpu", "permute_gpu")
"""They need a CUDA device, and the first mamba-ssm as a peer."""
NAMED = (*GPU_NAMES, "peer", "rerun")
"""Run only when named: `peer` needs transformer-lens, of the extra of its name; the last is no race
of algorithms, and starts kernels for a minute."""
NAMES = tuple(name for name in CODE if name not in NAMED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, all by default; 2 for a name or file that cannot be used."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Speed against peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CODE))
    parser.add_argument("--out", metavar="FILE", help="save a record, such as results/x.json")
    arguments = parser.parse_args(argv)
    names = arguments.names or NAMES
    for name in names:
        if name not in CODE:
            return _complain(f"{name!r}: no such benchmark; takes {', '.join(CODE)}")
        if name in GPU_NAMES and not torch.cuda.is_available():
            return _complain(f"{name}: needs a CUDA device")
        if name == "peer" and importlib.util.find_spec("transformer_lens") is None:
            return _complain(f"{name}: needs transformer-lens: pip install -e '.[peer]'")
    # Before the run: a mistake here should not cost minutes.
    if arguments.out and Path(arguments.out).is_dir():
        return _complain(f"--out: {arguments.out} is a folder")

    start = time.perf_counter()
    # Races set their own. Of more, the many small operations of a slow way wait for one another.
    torch.set_num_threads(1)
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
                code=sorted({f"tokensphere.{module}" for name in names for module in CODE[name]}),
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
