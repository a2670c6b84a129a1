"""The order of the tests: what takes longest first, so that parallel workers end together.

And small models for `tokensphere sinks`, made once.
"""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SLOW = (
    "test_ledger.py",
    "test_reorder_training.py",
    "test_rerun_faults.py",
)
"""Files of unit tests by seconds, those of half a minute and more."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    seconds = json.loads((FOLDER / "baselines" / "seconds.json").read_text("utf-8"))
    order = {FOLDER / name: place for place, name in enumerate(SLOW)}
    for place, page in enumerate(sorted(seconds, key=seconds.__getitem__, reverse=True)):
        order[FOLDER / "baselines" / f"{page}.ipynb"] = place
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    import sink_command

    return sink_command.build(tmp_path_factory.mktemp("models"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with prompts of 9, 7 and 5 words, and no way to a hub."""
    from sink_command import WORDS

    rows = [WORDS[:9], WORDS[4:11], WORDS[10:15]]
    (tmp_path / "prompts.txt").write_text("\n".join(map(" ".join, rows)) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def slight(monkeypatch):
    """Reports whose figures are not drawn: for what does not look at them."""
    from tokensphere.sinks.report import page

    monkeypatch.setattr(page, "_draw", lambda data: dict.fromkeys(page.FIGURES, "<svg></svg>"))


@pytest.fixture(scope="module")
def scores():
    """What the report on sinks has of a small labelling model that is not trained."""
    import torch

    from tokensphere.sinks.report import measure_model
    from tokensphere.sinks.typeseg import TypeSeg

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = TypeSeg(blocks=2, width=12, inner=10, states=4, rank=3, classes=5).eval()
    g = torch.Generator().manual_seed(0)
    prompts = [torch.randint(1, 30, (length,), generator=g) for length in (5, 12, 12, 9, 12)]
    return measure_model(model.requires_grad_(False), prompts)


@pytest.fixture
def closed():
    """Figures that a test draws are closed after it."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
