"""The picture of the book's first page and of README: where the first token goes on one sphere.

python -m tokensphere.paper.figures.landing    # writes book/images/tokens-light.png, and -dark
"""

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle
from PIL import Image
from torch import Tensor

from tokensphere.first_token.ends import settle
from tokensphere.flow import MambaFlow, random_tokens, simulate
from tokensphere.paper import ledger
from tokensphere.sinks.style import as_numpy

from .spheres import zeros_of_the_form

FOLDER = ledger.ROOT / "book" / "images"

SEED = 3
STARTS = 420
VIEW = (0.62, 0.62, 0.48)  # where the sphere is seen from

INK = {
    "light": {"vertex": "#0072b2", "zero": "#d55e00", "line": "#333333", "ground": "#eaeff5"},
    "dark": {"vertex": "#56b4e9", "zero": "#ff9a4d", "line": "#eeeeee", "ground": "#2b323b"},
}
"""Colours for light and dark pages: tokens by their end, the rest, the sphere."""


def orbits(seed: int = SEED, starts: int = STARTS) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """S_BC (3, 3), first tokens in time (T, starts, 3), and the kind of each one's end.

    One draw of Gaussian S_BC and S_Delta; starts are uniform on the sphere.
    """
    generator = torch.Generator().manual_seed(seed)
    S_BC, S_Delta = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    y0 = random_tokens(starts, 3, generator=generator)
    flow = MambaFlow(S_BC, S_Delta, torch.ones(3, dtype=torch.float64))
    times = torch.cat([torch.zeros(1), torch.logspace(-2, 4, 240)]).double()
    tokens = simulate(flow, y0[:, None], times).tokens[..., 0, :]
    same = (starts, 3, 3)
    kinds = settle(S_BC.expand(same), S_Delta.expand(same), y0, 1e4).kind
    return S_BC, as_numpy(tokens), as_numpy(kinds)


def plane() -> np.ndarray:
    """Rows: right, up, and towards the reader, (3, 3)."""
    out = np.array(VIEW) / np.linalg.norm(VIEW)
    right = np.cross([0.0, 0.0, 1.0], out)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(out, right), out])


def draw(ax: Axes, S_BC: Tensor, tokens: np.ndarray, kinds: np.ndarray, mode: str) -> None:
    """The near side of the sphere, its tokens coloured by their end; `mode` is a key of INK.

    A disc is a coordinate vector, filled if a token reaches it; dashed are the zeros of the form.
    """
    ink = INK[mode]
    ax.add_patch(Circle((0, 0), 1, color=ink["ground"], linewidth=0, zorder=0))
    across, out = project(tokens)
    for kind, name in enumerate(("vertex", "line", "zero", "line")):
        mine = kinds == kind
        parts, strength = pieces(across[:, mine], out[:, mine])
        colours = [to_rgba(ink[name], 0.75 * alpha) for alpha in strength]
        ax.add_collection(LineCollection(parts, colors=colours, linewidths=1.1))
        ends = across[-1, mine][out[-1, mine] > 0]
        ax.scatter(*ends.T, s=26, color=ink[name], zorder=5, linewidths=0)
    for curve in zeros_of_the_form(S_BC):
        flat, depth = project(curve)
        flat = np.where((depth > 0)[:, None], flat, np.nan)
        ax.plot(*flat.T, color=ink["zero"], linewidth=2.2, linestyle=(0, (4, 2)), zorder=4)
    for vertex in np.concatenate([np.eye(3), -np.eye(3)]):
        flat, depth = project(vertex)
        if depth > 0:
            reached = (np.linalg.norm(tokens[-1] - vertex, axis=-1) < 0.05).any()
            fill = ink["vertex"] if reached else "none"
            ax.scatter(*flat, s=130, color=fill, edgecolor=ink["vertex"], linewidths=2, zorder=6)
    ax.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal")
    ax.set_axis_off()


def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (..., 3) as seen: (..., 2) on paper, and (...) how far they are to the reader."""
    seen = points @ plane().T
    return seen[..., :2], seen[..., 2]


def pieces(across: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paths (T, n, 2) as segments (m, 2, 2) on the near side, and how strongly each is drawn."""
    segments = np.stack([across[:-1], across[1:]], axis=2).reshape(-1, 2, 2)
    depth = ((out[:-1] + out[1:]) / 2).ravel()
    moved = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=-1) > 1e-5
    kept = (depth > 0) & moved
    return segments[kept], np.clip(0.25 + depth[kept], 0, 1)


def write(S_BC: Tensor, tokens: np.ndarray, kinds: np.ndarray, folder: Path) -> list[Path]:
    """Writes the picture for light and for dark pages, on a transparent ground."""
    import matplotlib.pyplot as plt

    files = []
    for mode in INK:
        figure, ax = plt.subplots(figsize=(4.4, 4.4))
        figure.subplots_adjust(0, 0, 1, 1)
        draw(ax, S_BC, tokens, kinds, mode)
        files.append(folder / f"tokens-{mode}.png")
        raw = io.BytesIO()
        figure.savefig(raw, dpi=160, transparent=True)
        plt.close(figure)
        Image.open(raw).quantize(256, Image.Quantize.FASTOCTREE).save(files[-1], optimize=True)
    return files


if __name__ == "__main__":
    for file in write(*orbits(), FOLDER):
        print(file.relative_to(ledger.ROOT))
