"""What the command line shows as one message, without a traceback, where nobody's input was wrong (exit code 1)."""


class Failed(RuntimeError):
    """The work could not be done. The message says what failed and what to do."""
