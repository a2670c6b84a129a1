"""Image classifiers whose tokens are mixed by S6: a small one that runs anywhere, MambaVision-T.

`S6Classifier` is the isotropic model that the theory speaks of: its tokens meet in S6 layers and
nowhere else. There is no attention and, unlike in Mamba, no depthwise convolution before the scan.
MambaVision-T, the model of the paper's section 4.2, mixes tokens by convolutions and attention too.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokensphere import s6
from tokensphere.door import at_least, takes, text, whole
from tokensphere.reorder import data

__all__ = ["MODELS", "S6Classifier", "S6Mixer", "build", "stride"]

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class S6Mixer(nn.Module):
    """Mamba's mixer without its convolution: (B, L, width) to the same shape.

    With u, z the two halves of a linear map of the tokens, u = silu(u), and the steps, B and C
    linear in u as in eq (3) of the paper, y = S6(u) + D u leaves as a linear map of y silu(z).
    Rates, steps' bias and D start as in Mamba (Gu & Dao 2023, section 3.6): A = -n for state
    n = 1..N, steps log-uniform from 0.001 to 0.1.

    The scan runs in mamba-ssm's kernel where that is installed and the tokens are on a GPU, and in
    `tokensphere.s6.scan` elsewhere; both read steps in float32.

    width: channels of the tokens; the scan has 2 width channels.
    states: N.
    """

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        inner, self.rank, self.states = 2 * width, math.ceil(width / 16), states
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.x_proj = nn.Linear(inner, self.rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        for value in (self.A_log, self.D, self.dt_proj.bias):
            value._no_weight_decay = True
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            steps = torch.empty(inner).uniform_(math.log(0.001), math.log(0.1)).exp()
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus inverted

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, L, width), each changed by those before it and itself."""
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u = functional.silu(u)
        sizes = [self.rank, self.states, self.states]
        steps, B, C = self.x_proj(u).split(sizes, dim=-1)
        # Without the bias, which is added in float32: half precision would round small steps.
        steps = functional.linear(steps, self.dt_proj.weight)
        y = self._scan(u.mT, steps.mT, B.mT, C.mT).mT
        return self.out_proj(y * functional.silu(z))

    def _scan(self, u: Tensor, steps: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """S6(u) + D u, (B, 2 width, L), in u's dtype; steps before their bias and softplus."""
        if u.is_cuda and u.dtype in KERNEL_DTYPES and _kernel():
            from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

            # The kernel wants one dtype for what varies over tokens and float32 for the rest.
            u, steps, B, C = (value.to(u.dtype).contiguous() for value in (u, steps, B, C))
            return selective_scan_fn(
                u,
                steps,
                -self.A_log.float().exp(),
                B,
                C,
                self.D.float(),
                delta_bias=self.dt_proj.bias.float(),
                delta_softplus=True,
            )
        wide = u.dtype if u.dtype == torch.float64 else torch.float32
        u_, steps, B, C = (value.to(wide) for value in (u, steps, B, C))
        delta = functional.softplus(steps + self.dt_proj.bias.to(wide)[:, None])
        y = s6.scan(u_, delta, -self.A_log.to(wide).exp(), B, C)
        return (y + self.D.to(wide)[:, None] * u_).to(u.dtype)


class S6Classifier(nn.Module):
    """Patches, `depth` times x + S6Mixer(RMSNorm(x)), the tokens' mean, a linear head.

    Tokens see one another in the S6 layers alone. A learned vector for each place is added to the
    patches, so that a permuted token still carries its place and reordering takes nothing away
    but the order.

    size, channels: of the images, (B, channels, size, size).
    patch: side of a patch in pixels; L = (size / patch)^2 tokens, row by row.
    width, depth, states: channels of a token, layers, N.

    Raises ValueError for a number that is not positive, or a patch that does not divide the size.
    """

    def __init__(
        self,
        classes: int,
        *,
        size: int,
        channels: int = 3,
        patch: int,
        width: int,
        depth: int,
        states: int,
    ) -> None:
        super().__init__()
        for name, value in {
            "classes": classes,
            "size": size,
            "channels": channels,
            "patch": patch,
            "width": width,
            "depth": depth,
            "states": states,
        }.items():
            if not value > 0:
                raise ValueError(f"{name}: got {value}, takes a positive number")
        if size % patch:
            raise ValueError(f"size: got {size}, takes a multiple of the patch, {patch}")
        self.patch_embed = nn.Conv2d(channels, width, patch, patch)
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2, width) * 0.02)
        self.places._no_weight_decay = True
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(depth))
        self.mixers = nn.ModuleList(S6Mixer(width, states) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, classes)
        for mixer in self.mixers:
            # As in GPT-2 and mamba-ssm: the sum over layers keeps its size at any depth.
            with torch.no_grad():
                mixer.out_proj.weight /= depth**0.5

    def tokens(self, images: Tensor) -> list[Tensor]:
        """The tokens after the embedding and after each layer: depth + 1 tensors (B, L, width)."""
        x = self.patch_embed(images).flatten(2).mT + self.places
        found = [x]
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x))
            found.append(x)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, channels, size, size)."""
        return self.head(self.norm(self.tokens(images)[-1]).mean(1))


@takes(name=text(), classes=whole(1), size=whole(1), channels=whole(1), drop_path=at_least(0.0))
def build(
    name: str, classes: int, size: int, channels: int = 3, drop_path: float = 0.0
) -> nn.Module:
    """A model of `MODELS` with fresh weights from torch's global generator.

    "s6-tiny" has 16 tokens, "s6-small" 64, at any size. "mambavision_tiny" is PyPI's
    MambaVision-T; see `stride` for its shapes.

    classes, size, channels: of the images, (B, channels, size, size).
    drop_path: largest rate of dropped residual branches; MambaVision's alone.

    Raises ValueError for an unknown name, a size or an argument that the model does not take;
    ImportError where MambaVision's package is missing.
    """
    if name not in MODELS:
        raise ValueError(f"model: got {name!r}, takes one of {', '.join(MODELS)}")
    if name == "mambavision_tiny":
        return _mambavision(classes, size, channels, drop_path)
    if drop_path:
        raise ValueError(f"drop_path: got {drop_path}, takes 0 with {name}, which has none")
    side, shape = MODELS[name]
    if size % side:
        raise ValueError(f"size: got {size}, takes a multiple of {side} with {name}")
    return S6Classifier(classes, size=size, channels=channels, patch=size // side, **shape)


MODELS: dict[str, tuple[int, dict[str, int]]] = {
    "s6-tiny": (4, {"width": 32, "depth": 4, "states": 8}),
    "s6-small": (8, {"width": 192, "depth": 8, "states": 8}),
    "mambavision_tiny": (0, {}),
}
"""By name: tokens along a side, and the shape, of an `S6Classifier`."""


@takes(size=whole(1))
def stride(size: int) -> int:
    """The stride of MambaVision's patch embedding for images of this side: 1, 2 or 4.

    The published model halves the image five times: twice in the patch embedding, then after each
    of its first three stages. Mixers run in stages 3 and 4 within windows of 14 and 7, which are
    the whole grid at 224 pixels; smaller grids are padded with zeros up to them. Of a 32-pixel
    image stages 3 and 4 would see 2x2 and 1x1 patches among 192 and 48 zeros. Here the embedding
    keeps the largest stride that leaves stage 4 a 4x4 grid, and a window is its stage's whole grid:

        pixels  stride  stage 1   stage 2   stage 3 (window)  stage 4 (window)
        224     4       56x56     28x28     14x14 (14)        7x7 (7), as published
        64      2       32x32     16x16     8x8 (8)           4x4 (4)
        32      1       32x32     16x16     8x8 (8)           4x4 (4)

    in channels 80, 160, 320, 640 and 1, 3, 8, 4 blocks, of which the first halves of stages 3 and 4
    are Mamba mixers, so 4 run over 64 tokens and 2 over 16 at 32 pixels. No weight changes shape.

    Raises ValueError for a size that does not halve evenly, or whose windows would pass 14.
    """
    for value in (4, 2, 1):
        if size % (8 * value) == 0 and 4 <= size // (8 * value) <= 7:
            return value
    raise ValueError(
        f"size: got {size}, takes 8 times 4 to 7 (32, 40, 48, 56), or 2 or 4 times one of these"
    )


def _mambavision(classes: int, size: int, channels: int, drop_path: float) -> nn.Module:
    first = stride(size)
    with data.needed("mambavision_tiny", "requirements-gpu.txt"), warnings.catch_warnings():
        # It imports by names that timm is about to drop, and says nothing else to a user.
        warnings.simplefilter("ignore", FutureWarning)
        from mambavision.models.mamba_vision import mamba_vision_T
    stage = size // (4 * first)
    model = mamba_vision_T(
        num_classes=classes,
        in_chans=channels,
        window_size=[8, 8, stage, stage // 2],  # the first two stages are convolutions
        drop_path_rate=drop_path,
    )
    # Two strided convolutions: 2 and 2 as published, 2 and 1, or 1 and 1.
    for convolution, step in zip(
        (model.patch_embed.conv_down[0], model.patch_embed.conv_down[3]),
        (2 if first > 1 else 1, 2 if first == 4 else 1),
        strict=True,
    ):
        convolution.stride = (step, step)
    return model


@functools.cache
def _kernel() -> bool:
    return importlib.util.find_spec("mamba_ssm") is not None
