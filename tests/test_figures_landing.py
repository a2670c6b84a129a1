"""The first page's picture: what its colours and its discs say is so."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from tokensphere.first_token.ends import KINDS
from tokensphere.paper.figures import landing


@pytest.fixture(scope="module")
def drawn():
    return landing.orbits(starts=40)


def test_colours_say_where_tokens_end(drawn):
    S_BC, tokens, kinds = drawn
    end = tokens[-1]
    q = np.einsum("ni,ij,nj->n", end, S_BC.numpy(), end)
    vertex = kinds == KINDS.index("coordinate vector")
    zero = kinds == KINDS.index("zero of the form")
    assert vertex.any() and zero.any()
    # What is left at t = 1e4 of the slowest approaches.
    assert np.abs(np.abs(end[vertex]).max(-1) - 1).max() < 1e-3
    assert np.abs(q[zero]).max() < 1e-3
    assert np.abs(q[vertex]).min() > 0.01


def test_only_the_near_side_is_drawn(drawn):
    _, tokens, _ = drawn
    across, out = landing.project(tokens)
    assert np.allclose((across**2).sum(-1) + out**2, 1)  # a rotation of the sphere
    parts, strength = landing.pieces(across, out)
    assert 0 < len(parts) == len(strength) < tokens[..., 0].size
    assert landing.project(np.array(landing.VIEW))[1] > 0
    hidden = np.ones_like(out) * -1
    assert len(landing.pieces(across, hidden)[0]) == 0


def test_a_disc_is_full_where_a_token_ends(drawn):
    S_BC, tokens, kinds = drawn
    figure, ax = plt.subplots()
    landing.draw(ax, S_BC, tokens, kinds, "light")
    discs = [c for c in ax.collections if 130 in getattr(c, "get_sizes", list)()]
    full = [len(disc.get_facecolor()) > 0 for disc in discs]
    assert sorted(full) == [False, True, True]  # of the three coordinate vectors in view
    plt.close(figure)


def test_files_for_light_and_dark(drawn, tmp_path):
    files = landing.write(*drawn, tmp_path)
    assert [file.name for file in files] == ["tokens-light.png", "tokens-dark.png"]
    for file in files:
        picture = Image.open(file).convert("RGBA")
        assert picture.getpixel((0, 0))[3] == 0  # a transparent ground
        assert (landing.FOLDER / file.name).stat().st_size < 150_000
