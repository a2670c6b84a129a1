"""Chapters are executed before Sphinx reads them, on all cores, the longest first.

Sphinx reads one page after another, and by itself would execute each as it comes to it. Here those
that the cache does not have are executed first, each in a process of its own with one thread, and
put into the cache, where Sphinx finds them. One that fails is left out: Sphinx meets its error
again, and reports it.
"""

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import notebooks
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import myst_nb_reader_plugin
from sphinx.util import logging

from tokensphere import records
from tokensphere.paper.kernels import START_SECONDS, AsyncSocketKernelManager

LOG = logging.getLogger(__name__)


class Measured(AsyncSocketKernelManager):
    """Looks how much memory its kernel had at most, before it ends it."""

    peak: int | None = None
    """Bytes, of the last kernel in this process; None where the system does not tell."""

    async def shutdown_kernel(self, *args, **kwargs):
        status = Path(f"/proc/{getattr(self.provisioner, 'pid', None)}/status")
        lines = status.read_text().splitlines() if status.is_file() else []
        found = [line.split() for line in lines if line.startswith("VmHWM:")]
        Measured.peak = int(found[0][1]) * 1024 if found else None  # it is told in KiB
        await super().shutdown_kernel(*args, **kwargs)


def where() -> str:
    """This machine and the versions that a chapter's numbers may depend on, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = records.versions(("numpy", "scipy", "torch", "sympy", "transformers"))
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    return f"{records.cpu_name()}, {cores} cores; {versions}"


def fill_cache(app, env, docnames):
    """Executes the chapters among `docnames` that the cache does not hold."""
    if app.config.nb_execution_mode != "cache":
        return
    cache = get_cache(app.config.nb_execution_cache_path)
    missing = []
    for page in notebooks.longest_first(set(docnames) & set(notebooks.chapters())):
        try:
            cache.match_cache_notebook(myst_nb_reader_plugin(str(notebooks.source(page))))
        except KeyError:
            missing.append(page)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if len(missing) < 2 or cores < 2:
        return
    LOG.info("executing %d chapters, %d at a time", len(missing), cores)
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
            timeout = app.config.nb_execution_timeout
            runs = {
                pool.submit(execute, str(notebooks.source(page)), timeout): page for page in missing
            }
            for run in as_completed(runs):
                try:
                    result = run.result()
                except RuntimeError as error:  # a kernel that died, or never answered
                    LOG.info("%s failed: %s", runs[run], error)
                else:
                    _keep(cache, runs[run], *result)
    finally:
        for name, value in threads.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def execute(path: str, timeout: int):
    """An executed chapter as JSON, its error in one line or None, and of its run what is kept."""
    import nbformat

    Measured.peak = None
    notebook = myst_nb_reader_plugin(path)
    result = single_nb_execution(
        notebook,
        cwd=str(Path(path).parent),
        timeout=timeout,
        startup_timeout=START_SECONDS,
        allow_errors=False,
        kernel_manager_class=Measured,
    )
    error = None if result.err is None else str(result.err).strip().splitlines()[-1]
    run = {"execution_seconds": result.time, "peak": Measured.peak, "where": where()}
    return nbformat.writes(notebook), error, run


def _keep(cache, page: str, text: str, error: str | None, run: dict) -> None:
    import nbformat

    seconds = run["execution_seconds"]
    if error is not None:
        LOG.info("%s failed after %.0f s: %s", page, seconds, error)
        return
    LOG.info("executed %s in %.1f s", page, seconds)
    bundle = CacheBundleIn(
        nbformat.reads(text, as_version=4),
        str(notebooks.source(page)),
        data=run,
    )
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def setup(app):
    app.connect("env-before-read-docs", fill_cache)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
