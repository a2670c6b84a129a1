"""Dask's workers: processes of this machine, or those of a cluster that exists."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from tokensphere.paper import signals
from tokensphere.paper.rerun import BadInput, worker

if TYPE_CHECKING:
    from distributed import Client

HOST = "127.0.0.1"
"""A scheduler runs what it is sent: nobody else's machine may reach ours."""
GPU = "GPU"
"""The resource of a worker that has a GPU of its own."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CONNECT = 15.0
"""Seconds in which a scheduler must answer."""
CLOSE = 3.0
"""Seconds for saying good-bye to one, which may be gone."""


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name, of this machine's GPUs."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    named = [name.strip() for name in given if name.strip()]
    return (named or [str(i) for i in range(count)])[:count]


@contextlib.contextmanager
def local(workers: int, gpus: bool = False) -> Iterator[Client]:
    """So many workers on this machine, each a process with one thread of Dask's.

    Cores are divided among them: OMP_NUM_THREADS and its kin say so, unless they are set already.
    gpus: each worker has a GPU of its own, and the resource GPU.
    """
    from distributed import Client, Nanny, Scheduler, SpecCluster

    worker.quiet()
    share = str(max(1, cores() // workers))
    threads = {name: share for name in THREADS if name not in os.environ}
    # Its pages of metrics too are for this machine alone.
    server = {"dashboard": False, "dashboard_address": f"{HOST}:0"}
    options = {
        "host": HOST,
        "nthreads": 1,
        "memory_limit": None,
        **server,
        "env": threads,
    }
    visible = devices() if gpus else []
    specification = {}
    for i in range(workers):
        own = {}
        if gpus:
            own = {"env": threads | {"CUDA_VISIBLE_DEVICES": visible[i]}, "resources": {GPU: 1}}
        specification[i] = {"cls": Nanny, "options": options | own}
    scheduler = {
        "cls": Scheduler,
        # Who lost a worker is told at once, and says himself whether the cell runs again.
        "options": {"host": HOST, "port": 0, "allowed_failures": 0, **server},
    }
    before = dict(os.environ)
    # Ctrl-C reaches all processes of a terminal's job. The threads and processes that start now
    # never see it; we do, once they have started, and then end them. This process of Python's own
    # comes first, because whoever starts it lets the signal in again.
    resource_tracker.ensure_running()
    # Read by Dask's workers as they start, before they can be told to be quiet.
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
    try:
        with contextlib.ExitStack() as stack:
            with signals.delayed():
                started = SpecCluster(specification, scheduler, silence_logs=False)
                cluster = stack.enter_context(started)
            yield stack.enter_context(Client(cluster, set_as_default=False))
    finally:
        # Nannies set variables for the processes that they start in their own environment, ours.
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


@contextlib.contextmanager
def remote(address: str) -> Iterator[Client]:
    """The workers of a scheduler that runs already, by its address or its scheduler file.

    TLS as Dask's configuration says. Raises BadInput where none answers.
    """
    from distributed import Client, Security
    from distributed.comm import get_address_host_port

    worker.quiet()
    try:
        if Path(address).is_file():
            address = json.loads(Path(address).read_text("utf-8"))["address"]
        # What a client finds out too late: it then waits for half a minute.
        get_address_host_port(address)
        context = Security().get_connection_args("client")["ssl_context"]
        if address.startswith("tls:") and context is None:
            raise ValueError("Dask's configuration has no distributed.comm.tls.client")
        client = Client(address, timeout=CONNECT, set_as_default=False)
    # The last three of a file with other JSON than an object with text, or nested too deeply.
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"no scheduler at {address}: {reason}") from None
    try:
        yield client
    finally:
        client.close(timeout=CLOSE)
