"""What the command says in one line."""


class InputError(ValueError):
    """What was typed cannot be used."""
