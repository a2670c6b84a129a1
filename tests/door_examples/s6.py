"""Good calls of the functions of `s6`."""

import torch

from tokensphere.s6 import attention, recurrence, selective

G = torch.Generator().manual_seed(0)
TENSORS = {
    "delta": torch.rand(2, 4, 5, generator=G),
    "A": -torch.rand(4, 3, generator=G),
    "B": torch.randn(2, 3, 5, generator=G),
    "C": torch.randn(2, 3, 5, generator=G),
}
U = {"u": torch.randn(2, 4, 5, generator=G)}
RESETS = {"resets": torch.zeros(2, 5, dtype=torch.bool)}
OTHERS = {
    "D": torch.ones(4),
    "z": torch.randn(2, 4, 5, generator=G),
    "delta_bias": torch.zeros(4),
    "delta_softplus": True,
    "initial_state": torch.zeros(2, 4, 3),
    "return_last_state": False,
}

EXAMPLES = {
    attention.attention_rows: TENSORS | RESETS,
    attention.hidden_attention: TENSORS | RESETS,
    recurrence.scan: U | TENSORS,
    recurrence.column_sums: TENSORS | {"row_weights": torch.ones(2, 4, 5)} | RESETS,
    recurrence.steps: {"delta": TENSORS["delta"], "delta_bias": torch.zeros(4)},
    selective.selective_scan: U | TENSORS | OTHERS | RESETS,
}

CHECKED = (
    "attention.hidden_attention",
    "attention.attention_rows",
    "recurrence.scan",
    "recurrence.column_sums",
)
LOOSE = ("NaN", "infinity", "no axis", "no rows", "empty rows")
"""Shapes and values are checked behind the door, the latter where that costs no wait for a GPU."""

TAKEN = {
    **{(f"s6.{name}", argument): LOOSE for name in CHECKED for argument in ("u", *TENSORS)},
    ("s6.attention.attention_rows", "resets"): ("None", "bools"),
    ("s6.attention.hidden_attention", "resets"): ("None", "bools"),
    ("s6.recurrence.column_sums", "resets"): ("None", "bools"),
    ("s6.selective.selective_scan", "resets"): ("None", "bools"),
    ("s6.recurrence.column_sums", "row_weights"): ("None", *LOOSE),
    ("s6.recurrence.steps", "delta"): LOOSE,
    ("s6.recurrence.steps", "delta_bias"): LOOSE,
    **{
        ("s6.selective.selective_scan", argument): ("None", "complex", *LOOSE)
        for argument in ("A", "B", "C", "initial_state")
    },
    **{
        ("s6.selective.selective_scan", argument): ("None", *LOOSE)
        for argument in ("u", "delta", "D", "z", "delta_bias")
    },
}

LEFT = {
    "behind the doors of scan, column_sums, hidden_attention and selective_scan": [
        *(f"s6.arguments.{name}" for name in ("by_group", "channel_first", "token_first", "wide")),
        *(f"s6.arguments.{name}" for name in ("widen", "uncast", "unobserved", "check_like")),
        *(f"s6.arguments.{name}" for name in ("extremes", "check", "check_shapes")),
        *(f"s6.arguments.{name}" for name in ("check_values", "check_resets")),
        "s6.cpu.column_sums",
        "s6.cpu.scan",
        "s6.recurrence.recur",
    ],
}
