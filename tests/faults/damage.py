"""Ways in which a file can be wrong: values of another kind, missing and doubled keys, cut and flipped bytes."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import yaml

Path = tuple[Any, ...]
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**70), 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf")),
    *["", " ", "x", "0", "nan", "../../../escaped", "/tmp/escaped", "a/b", "a\\b", "~", "$HOME", "a b", "é→漢", "�"],
    *("<script>alert(1)</script>", "\\input{/etc/passwd}", "{{ 7*7 }}", "%s%n", "'; DROP TABLE runs; --", "\x00", "\n"),
    *("__import__('os').system('touch escaped')", "!!python/object/apply:os.system [touch escaped]", "x" * 5000),
    *([], [[]], [None], [1, 2, 3, 4], [-1, -1, 5, 5], [0, 0, 1e9, 1e9], ["a", "a"], {}, {"": 0}, {"x": {"y": []}}),
)


def places(node: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a document, the document itself first."""
    yield path
    if isinstance(node, dict):
        for key in node:
            yield from places(node[key], (*path, key))
    elif isinstance(node, list):
        for number in range(min(len(node), 4)):
            yield from places(node[number], (*path, number))


def spoiled(document: Any, random: Random) -> Any:
    """A copy with one to three places changed, removed, doubled or exchanged."""
    result = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 2, 3))):
        found = list(places(result))
        path = random.choice(found)
        if not path:
            result = random.choice(STRANGE) if random.random() < 0.1 else result
            continue
        parent = result
        for step in path[:-1]:
            parent = parent[step]
        _change(parent, path[-1], random)
    return result


def _change(parent: Any, step: Any, random: Random) -> None:
    old = parent[step]
    kind = random.randrange(6)
    if kind == 0:
        del parent[step]
    elif kind == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(old))
    elif kind == 1 and isinstance(parent, dict):
        parent[random.choice(("new", "__proto__", "type", "_delete_", "id", ""))] = copy.deepcopy(old)
    elif kind == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        parent[step] = random.choice((-old, old + 1, old * 10**6, float(old), str(old)))
    elif kind == 3:
        parent[step] = [old]
    else:
        parent[step] = copy.deepcopy(random.choice(STRANGE))


def cut_or_flipped(content: bytes, random: Random) -> bytes:
    """The bytes with something wrong in them."""
    changed = bytearray(content)
    kind = random.randrange(4)
    place = random.randrange(len(changed)) if changed else 0
    if kind == 0:
        del changed[place:]
    elif kind == 1 and changed:
        changed[place] ^= 1 << random.randrange(8)
    elif kind == 2:
        changed[place:place] = random.choice((b"\x00", b"\xff\xfe", b"{", b"]", b'"', b"[" * 100_000, b"\n\n", b"NaN"))
    else:
        del changed[place : place + random.randrange(1, 64)]
    return bytes(changed)


def as_json(document: Any, random: Random) -> bytes:
    """A spoiled document as JSON, one in five damaged in its bytes instead."""
    if random.random() < 0.2:
        return cut_or_flipped(json.dumps(document).encode(), random)
    return json.dumps(spoiled(document, random)).encode()


def as_yaml(document: Any, random: Random) -> bytes:
    """The same as YAML; one in twenty holds a call."""
    if random.random() < 0.2:
        return cut_or_flipped(yaml.safe_dump(document).encode(), random)
    text = yaml.safe_dump(spoiled(document, random), allow_unicode=True)
    if random.random() < 0.05:
        text += "evil: !!python/object/apply:os.system ['touch escaped']\n"
    return text.encode("utf-8", "surrogatepass")
