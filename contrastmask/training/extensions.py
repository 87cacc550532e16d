"""What the `config` of a table row or a scale adds to mmengine's runner.

`custom_hooks` (a list) and `visualizer` are what mmengine's configurations have under these names; `custom_imports` is
a list of modules of one's own that register something. They are part of a run's identity, as all of `config` is.
"""

import copy
from typing import Any

from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from contrastmask.errors import ConfigError

KEYS = ("custom_hooks", "visualizer", "custom_imports")


def extended_runner(config: dict[str, Any], hooks: list[Any], **arguments: Any) -> Runner:
    """mmengine's runner with its optimiser, our hooks and those of a resolved configuration.

    Raises:
        ConfigError: mmengine cannot make one of them; the message has its reason.
    """
    added = {key: copy.deepcopy(config[key]) for key in KEYS if key in config}  # mmengine takes keys out of them
    try:
        import_modules_from_strings(added.get("custom_imports", []))
        theirs = {"custom_hooks": [*hooks, *added.get("custom_hooks", [])], "visualizer": added.get("visualizer")}
        runner = Runner(**theirs, **arguments)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)  # else made when the training begins
        return runner
    except (KeyError, TypeError, ValueError, AttributeError, ImportError, AssertionError) as error:
        used = ", ".join((f"optimizer {config['optimizer']['type']}", "amp", *added))
        raise ConfigError(f"mmengine cannot use the configuration's {used}: {error}") from error
