"""The one error inside the runtime; it never reaches the user."""


class Unavailable(Exception):
    """Something cannot be done in this process, which is left as it was.

    The message says why; `start` turns it into the one warning.
    """
