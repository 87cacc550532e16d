"""What the package reads beside its code goes into its wheel: top-level folders here, `contrastmask/_share` there."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARED = ("configs", "profiles", "workflow", "Snakefile")


class Share(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":  # an editable installation reads them where they are
            build_data["force_include"].update({name: f"contrastmask/_share/{name}" for name in SHARED})
