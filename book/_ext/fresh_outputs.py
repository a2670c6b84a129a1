"""No stale page: outputs are kept only as long as everything that they were made from.

Jupyter Book's cache knows a chapter's cells, not the package that they call. Here the cache's
folder is named by a digest of the package, the records, these extensions and the pinned
requirements. Sphinx reads every page again when the digest changes, and finds an empty cache.
"""

import hashlib
import shutil
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbCacheRecord
from sqlalchemy.exc import DatabaseError

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ("src/tokensphere", "results", "book/_ext", "requirements.txt")


def digest(root: Path, inputs=INPUTS) -> str:
    """A digest of the names and bytes of all files below `inputs`, less Python's byte code."""
    total = hashlib.sha256()
    for name in inputs:
        top = root / name
        for path in sorted([top, *top.rglob("*")]):
            # Compiled code, Python's and numba's, follows from the rest.
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(path.relative_to(root).as_posix().encode() + b"\0")
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def key_cache(app, config):
    """Points the cache at the folder of this digest; drops the others, and the pages from them."""
    config.outputs_digest = digest(ROOT)
    caches = Path(app.outdir).parent / ".jupyter_cache"
    cache = caches / config.outputs_digest
    config.nb_execution_cache_path = str(cache)
    if not cache.exists():
        # Now, so that a build that fails half-way leaves no page that no longer holds.
        for page in Path(app.outdir).rglob("*.html"):
            page.unlink()
    for old in caches.glob("*"):
        if old != cache:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    drop_damaged(cache)

    # A build that was cut off, or that warned, must not count as done: Sphinx would take its
    # half-written pages for new, and would pass next time without repeating the warning.
    unfinished = _marker(app)
    if unfinished.exists():
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.touch()


def drop_damaged(cache: Path):
    """Drops chapters that cannot be read from a cache; all of them where its database cannot.

    jupyter_cache notes a notebook first and then writes it: a build that is killed, or out of
    space, leaves half of one, and the next would break off at it.
    """
    if not (cache / "global.db").exists():
        return
    kept = get_cache(str(cache))
    try:
        for record in kept.list_cache_records():
            try:
                kept.get_cache_bundle(record.pk).nb.cells  # noqa: B018
            except (ValueError, LookupError, TypeError, AttributeError):
                shutil.rmtree(cache / "executed" / record.hashkey, ignore_errors=True)
                NbCacheRecord.remove_record(record.pk, kept.db)
    except (RuntimeError, DatabaseError):
        shutil.rmtree(cache)


def finish(app, exception):
    """Lets the next build start from this one, if nothing was wrong with it."""
    if exception is None and not app._warncount:
        _marker(app).unlink()


def _marker(app) -> Path:
    return Path(app.outdir).parent / ".unfinished"


def setup(app):
    app.add_config_value("outputs_digest", "", "env")
    app.connect("config-inited", key_cache)
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
