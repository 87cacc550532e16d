"""The name of a setting, <base>2<novel>: two lists of categories in configs/splits."""

import re
from pathlib import Path

from contrastmask.errors import DataError
from contrastmask.paths import CONFIGS

SPLITS = CONFIGS / "splits"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def parse_setting(setting: str, splits_dir: Path = SPLITS) -> tuple[str, str]:
    """The names of the base and the novel list: the one place at a 2 where both sides are split lists.

    Raises:
        DataError: there is no such place, or more than one.
    """
    names = sorted(path.stem for path in splits_dir.glob("*.yaml") if NAME.fullmatch(path.stem))
    pairs = [
        (setting[:place], setting[place + 1 :])
        for place, character in enumerate(setting)
        if character == "2" and setting[:place] in names and setting[place + 1 :] in names
    ]
    if len(pairs) == 1:
        return pairs[0]
    if pairs:
        readings = " or ".join(f"{base} to {novel}" for base, novel in pairs)
        raise DataError(f"setting {setting!r} can be read as {readings}; rename one of the lists in {splits_dir}")
    known = ", ".join(names) or "no lists"
    raise DataError(f"setting {setting!r} must be <base>2<novel>; {splits_dir} holds {known}")
