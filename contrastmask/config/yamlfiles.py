"""Reading the YAML files that people write, with errors that name the file, the key and the fix."""

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from contrastmask.errors import ConfigError
from contrastmask.paths import SCHEMAS

SHARED = "free.schema.yaml"  # which others refer to


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML takes the last without a word, and what no file and no terminal
    can hold: an escape of YAML may write half of a character."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        text = super().construct_scalar(node)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise yaml.constructor.ConstructorError(None, None, f"half of a character in {text!r}", node.start_mark)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        said = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        if twice := [key for key, count in said.items() if count > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"'{twice[0]}' stands twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load_yaml(text: str | bytes) -> Any:
    """What YAML of a person says, of bytes in UTF-8 or UTF-16; yaml.YAMLError if it says nothing that can be used."""
    return _Loader(text).get_single_data()


def read_yaml(path: Path, schema: str) -> dict[str, Any]:
    """The mapping in `path`, checked against `workflow/schemas/<schema>.schema.yaml`."""
    try:
        content = load_yaml(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"{path} does not exist; files in that folder: {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping (key: value), not {type(content).__name__}")
    check(content, schema, str(path))
    return content


def check(content: dict[str, Any], schema: str, where: str) -> None:
    """Raise ConfigError with every violation of the schema, each with its place and what is expected."""
    errors = sorted(_validator(schema).iter_errors(content), key=lambda e: [str(p) for p in e.path])
    if errors:
        lines = "\n".join(f"  {_place(error)}: {_say(error)}" for error in errors)
        raise ConfigError(f"{where} is not a valid {schema} file:\n{lines}")


def _is_whole(_: Any, value: Any) -> bool:
    """JSON Schema takes 4.0 for a whole number; what counts with it does not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_: Any, value: Any) -> bool:
    """Neither .nan nor .inf, which lie within any limits."""
    return _is_whole(_, value) or (isinstance(value, float) and math.isfinite(value))


_TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_finite})
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=_TYPES)


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    shared = Registry().with_resource(SHARED, DRAFT202012.create_resource(_contents(SHARED)))
    return _Validator(_contents(f"{schema}.schema.yaml"), registry=shared)


def _contents(file: str) -> Any:
    return yaml.safe_load((SCHEMAS / file).read_text(encoding="utf-8"))


def _place(error: jsonschema.ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path) or "top level"


def _say(error: jsonschema.ValidationError) -> str:
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        known = ", ".join(sorted(error.schema.get("properties", {})))
        return f"{error.message.split(' (')[-1].rstrip(')')}; known keys: {known}"
    described = error.schema.get("description") if isinstance(error.schema, dict) else None
    return error.message + (f" ({described})" if described else "")
