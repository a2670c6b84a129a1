"""Good calls of the functions of `refine`."""

import torch

from tokensphere.refine import averaging, passivity
from tokensphere.refine.signature import signature, spectrum

G = torch.Generator().manual_seed(0)
S_B = torch.randn(2, 4, generator=G, dtype=torch.float64)
LAYER = {
    "u": torch.randn(2, 4, 5, generator=G),
    "delta": torch.rand(2, 4, 5, generator=G),
    "A": -torch.rand(4, 3, generator=G),
    "B": torch.randn(2, 3, 5, generator=G),
    "C": torch.randn(2, 3, 5, generator=G),
}

EXAMPLES = {
    averaging.effective_tokens: {"P": torch.eye(3)},
    passivity.supply: LAYER,
    passivity.least_supply: {"u": LAYER["u"], "delta": LAYER["delta"], "C": LAYER["C"]}
    | {"d": torch.ones(3)},
    passivity.passive: {"M": torch.eye(3), "a": torch.ones(3), "atol": 1e-12},
    signature: {"S_B": S_B, "S_C": S_B, "rtol": 1e-9},
    spectrum: {"S_B": S_B, "S_C": S_B},
}

TAKEN = {
    # s6.scan, which reads them, refuses these.
    **{("refine.passivity.supply", name): ("NaN", "infinity") for name in LAYER},
    ("refine.signature.signature", "rtol"): ("None",),
}

LEFT: dict = {}
