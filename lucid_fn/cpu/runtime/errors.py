"""The error of the runtime, which never reaches users."""


class Unavailable(Exception):
    """A step of the setup is impossible here, and has changed nothing.

    The message gives the reason; `start` turns it into a warning or a note.
    """
