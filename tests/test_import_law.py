"""Each room of the package imports only what stands to its left: docs/design.md draws it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: From the ground up. A room may import itself and every room above in this list; rooms of one line, not each other.
LAW = [
    {"errors", "paths"},
    {"runtime"},
    {"config"},
    {"tracking", "data"},
    {"models"},
    {"training"},
    {"evaluation"},
    {"report", "inference"},
    {"cli", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(LAW) for room in rooms}
FILES = sorted(path for path in (ROOT / "contrastmask").rglob("*.py") if path.parent != ROOT / "contrastmask")


def room(module: str) -> str:
    return module.split(".")[1]


def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} if node.module != "contrastmask" else {f"contrastmask.{n.name}" for n in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name and name.split(".")[0] in ("contrastmask", "benchmarks")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_stands_to_its_left(path: Path) -> None:
    own = path.relative_to(ROOT / "contrastmask").parts[0]
    for module in imported(path):
        if module.split(".")[0] == "benchmarks":
            assert own == "cli", f"{module} is not part of the package; only `plan --calibrate` asks for it"
            continue
        other = room(module)
        assert other == own or FLOOR[other] < FLOOR[own], f"{own} imports {module}"


#: Inside models: what several systems share knows none of them; ContrastMask knows no peer.
MODELS = {
    "common": {"common"},
    "contrastmask": {"common", "contrastmask"},
    "peers": {"common", "contrastmask", "peers"},
}


@pytest.mark.parametrize("part", MODELS)
def test_shared_parts_of_the_models_know_no_system_and_contrastmask_no_peer(part: str) -> None:
    for path in (ROOT / "contrastmask" / "models" / part).rglob("*.py"):
        other = {name.split(".")[2] for name in imported(path) if name.startswith("contrastmask.models.")}
        assert other <= MODELS[part], f"{path.name} imports {', '.join(other - MODELS[part])}"


def test_every_room_has_its_place() -> None:
    rooms = {path.relative_to(ROOT / "contrastmask").parts[0] for path in FILES}
    assert rooms <= set(FLOOR)
