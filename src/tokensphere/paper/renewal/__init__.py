"""Records of `results/`: which of them match the code, and the commands that renew them.

`table` reads `renewals.toml`, `state` compares records with the code beside them, `run` renews
some, and `gpu` is what `make gpu` does.
"""

from tokensphere.paper import Refusal


class Refused(Refusal):
    """What was asked for cannot be renewed here, with the reason in one line."""
