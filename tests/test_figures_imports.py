"""A runner needs what its chapters draw with, and nothing else."""

import subprocess
import sys
from pathlib import Path

from tokensphere.paper import figures

PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    drawn = {"plotly", "matplotlib.pyplot"} & sys.modules.keys()
    assert not drawn, f"{name} imports {drawn}"
from tokensphere.paper import figures
figures.axes(1)
assert "matplotlib.pyplot" in sys.modules
"""


def test_plotly_and_pyplot_come_with_the_first_figure_that_needs_them():
    folder = Path(figures.__file__).parent
    names = sorted(f"{figures.__name__}.{path.stem}" for path in folder.glob("*.py"))
    assert len(names) > 20
    # In a process of its own: the other tests of this one draw.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, figures.__name__, *names], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
