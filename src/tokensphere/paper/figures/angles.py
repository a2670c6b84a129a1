"""Positive angles: slacks of inequalities in time, and where three tokens on the circle end."""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from . import drawing
from .drawing import COLOURS, DARK_GREY, INK, as_numpy, axes

CIRCLE_ENDS = ("both at $x_1$", "only the second", "only the third", "neither")


def slacks(
    times: Tensor,
    groups: Iterable[Sequence[Tensor]],
    panels: Mapping[str, tuple[float, str]],
) -> Figure:
    """Curves in time, a panel for each quantity and a colour for each group of runs.

    Args:
        times: (T,).
        groups: for each group its quantities (T, n), in the order of `panels`.
        panels: for each title the bound, drawn as a dashed line, and the scale of the axis.
    """
    figure, array = axes(len(panels))
    for group, colour, width in zip(groups, COLOURS, (drawing.THIN, drawing.LINE), strict=False):
        for ax, curves in zip(array[0], group, strict=True):
            ax.plot(as_numpy(times), as_numpy(curves), color=colour, lw=width)
    for ax, (title, (bound, scale)) in zip(array[0], panels.items(), strict=True):
        ax.axhline(bound, color=DARK_GREY, lw=drawing.THIN, ls="--")
        ax.set(title=title, xlabel="time $t$", yscale=scale)
    return figure


def ends_on_circle(
    side: Tensor, kinds: Mapping[str, Tensor], conditions: Mapping[str, Mapping[str, Tensor]]
) -> Figure:
    """Where the second and third token end, by their initial angles, a map for each form.

    Args:
        side: (n,), the angles of either token.
        kinds: by the form's name, (n, n) integers 0 to 3: both at x_1, only the second, only the
            third, neither; rows are angles of the second token.
        conditions: by the form's name the sets (n, n) to be outlined, by line style.
    """
    figure, array = axes(len(kinds), height=3.7)
    for ax, (name, kind) in zip(array[0], kinds.items(), strict=True):
        drawing.kinds(ax, side, side, kind.T, COLOURS[:4], alpha=0.75)
        for style, met in conditions[name].items():
            place = map(as_numpy, (side, side, met.T.double()))
            ax.contour(*place, [0.5], colors=INK, linestyles=style, linewidths=drawing.LINE)
        ax.set(title=name, xlabel="angle of $x_2$", aspect="equal")
    array[0, 0].set_ylabel("angle of $x_3$")
    keys = [Patch(color=colour, alpha=0.75) for colour in COLOURS[:4]]
    drawing.legend_below(figure, keys, CIRCLE_ENDS, 4)
    return figure
