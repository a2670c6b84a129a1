"""Records of `results/`: which of them match the code, and the commands that renew them.

`table` reads `renewals.toml`, `state` compares records with the code beside them, `run` renews
some, and `gpu` is what `make gpu` does.
"""


class Refused(ValueError):
    """What was asked for cannot be renewed here, with the reason in one line."""
