"""What the command says in one line."""


class InputError(ValueError):
    """What was typed cannot be used."""


MOST = 1000
"""Characters that are said at most: what was typed may be of any length."""


def one_line(message: object) -> str:
    """What an error says, in one line; of a file that the system refuses, its name first."""
    if isinstance(message, OSError) and message.filename is not None and message.strerror:
        # Of a file that could not take another's place, that place.
        name = message.filename if message.filename2 is None else message.filename2
        message = f"{name}: {message.strerror}"
    text = " ".join(str(message).replace("\0", "\\0").splitlines())
    return text if len(text) <= MOST else f"{text[: MOST // 2]} ... {text[-MOST // 2 :]}"
