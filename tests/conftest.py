"""The order of the tests: what takes longest first, so that parallel workers end together."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SLOW = (
    "test_ledger.py",
    "test_reorder_training.py",
    "test_rerun_faults.py",
    "test_sinks_language_model.py",
)
"""Files of unit tests by seconds, those of half a minute and more."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    seconds = json.loads((FOLDER / "baselines" / "seconds.json").read_text("utf-8"))
    order = {FOLDER / name: place for place, name in enumerate(SLOW)}
    for place, page in enumerate(sorted(seconds, key=seconds.__getitem__, reverse=True)):
        order[FOLDER / "baselines" / f"{page}.ipynb"] = place
    items.sort(key=lambda item: order.get(item.path, len(order)))
