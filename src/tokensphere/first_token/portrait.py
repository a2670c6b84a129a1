"""The phase portrait of eq (9) on the unit sphere of R^3, as data to be drawn.

For D = 2 :func:`tokensphere.circle.portrait` has proved ones; this one is computed in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tokensphere.door import positive, takes, tensor, whole

from ..flow import FirstTokenFlow, simulate
from .equilibria import Equilibrium, Family, equilibria

__all__ = ["SpherePortrait", "even_points", "sphere_portrait"]


@dataclass(frozen=True, eq=False)
class SpherePortrait:
    """Trajectories and type-1 equilibria of eq (9), D = 3.

    Args:
        paths: trajectories, (T, 3) each, of different lengths.
        arrows: (paths, 2, 3): two successive points of each path, from and to.
        points: the isolated equilibria.
        circles: families of equilibria that are great circles, (121, 3) each, closed.
        everywhere: whether all points of the sphere are equilibria, of one family.
    """

    paths: list[Tensor]
    arrows: Tensor
    points: list[Equilibrium]
    circles: list[Tensor]
    everywhere: bool


@takes(count=whole(1))
def even_points(count: int) -> Tensor:
    """Fibonacci's lattice: points (count, 3) that are even on the sphere of R^3, float64."""
    index = torch.arange(count, dtype=torch.float64)
    height = 1 - (2 * index + 1) / count
    turn = index * torch.pi * (3 - 5**0.5)
    radius = (1 - height**2).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), height], dim=-1)


@takes(
    S_BC=tensor(3, 3, dtype="float64"),
    S_Delta=tensor(3, 3, dtype="float64"),
    starts=whole(1),
    length=positive(),
)
def sphere_portrait(
    S_BC: Tensor, S_Delta: Tensor, starts: int = 70, length: float = 2.5
) -> SpherePortrait:
    """The phase portrait of eq (9) on the unit sphere of R^3.

    Trajectories are followed at nearly unit speed: they keep their course, and none is a dot. Those
    that hardly move are left out, and a path ends where it has come to rest.

    Args:
        S_BC, S_Delta: (3, 3), float64.
        starts: how many trajectories, from :func:`even_points`.
        length: of a trajectory, at most.
    Raises:
        ValueError: what :func:`tokensphere.first_token.equilibria` refuses, or D other than 3.
    """
    found = equilibria(S_BC, S_Delta)
    if len(S_Delta) != 3:
        raise ValueError(f"S_Delta: shape {tuple(S_Delta.shape)}, takes (3, 3)")
    flow, grid = FirstTokenFlow(S_BC, S_Delta), even_points(starts)
    # Where nothing moves the field is rounding of the layer's output, which has no course.
    rounding = 1e-9 * flow.layer(grid).norm(dim=-1).mean()
    typical = flow(grid).norm(dim=-1).mean().maximum(rounding).clamp(min=1e-300)

    def course(y: Tensor, s: Tensor | float) -> Tensor:
        velocity = flow(y)
        return velocity / (velocity.norm(dim=-1, keepdim=True) + 0.1 * typical)

    times = torch.linspace(0, length, 81, dtype=torch.float64)
    run = simulate(course, grid, times, rtol=1e-4, atol=1e-6).tokens
    moved = run.diff(dim=0).norm(dim=-1)
    along = moved.cumsum(0)
    paths, arrows = [], []
    for token in (along[-1] > 0.02).nonzero()[:, 0]:
        moving = (moved[:, token] > 1e-3).nonzero()[:, 0]
        paths.append(run[: int(moving[-1]) + 2 if len(moving) else 2, token])
        middle = int(torch.searchsorted(along[:, token].contiguous(), 0.35 * along[-1, token]))
        arrows.append(run[middle : middle + 2, token])
    angle = torch.linspace(0, 2 * torch.pi, 121, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    bases = [family.basis for family in found if isinstance(family, Family)]
    return SpherePortrait(
        paths,
        torch.stack(arrows) if arrows else run.new_empty(0, 2, 3),
        [point for point in found if isinstance(point, Equilibrium)],
        [circle @ basis.mT for basis in bases if basis.shape[1] == 2],
        any(basis.shape[1] == 3 for basis in bases),
    )
