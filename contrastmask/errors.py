"""What the command line shows as one message, without a traceback: it names what is wrong and the fix.

A `ValueError` here is wrong input (exit code 2), as is `GpuError`; `Failed` is work that could not be done (1).
"""


class ConfigError(ValueError):
    """A configuration that cannot be run. The message names the file, the key and the fix."""


class DataError(ValueError):
    """The data is unusable; the message names each problem and its fix."""


class GpuError(RuntimeError):
    """The GPUs that were asked for cannot be had; the message says what to change."""


class Failed(RuntimeError):
    """The work could not be done. The message says what failed and what to do."""
