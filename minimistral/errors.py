"""One kind of error for bad input: a message of one line that names the file, the tensor or the option."""


class BadInput(ValueError):
    """What the user gave cannot be used. The message says what was found, what was expected, and where."""


class NotFinite(BadInput):
    """A NaN or an infinity appeared in a stage; the message names the stage."""
