"""What the book stands on and nobody else needs: the ledger of statements with their checks, the
book's figures, the runner of its chapters.

It comes with the repository, not with the installed library, and the library never imports it.
"""


class Refusal(ValueError):
    """What was asked for cannot be done, with what is wrong in one line."""
