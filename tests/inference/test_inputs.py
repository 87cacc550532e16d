"""Which files are meant, in which order, and what their overlays are called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.errors import ConfigError
from contrastmask.inference.inputs import find_images, overlay_names


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Frames, a nested folder, and what is not an image."""
    for name in (
        "v/f10.jpg", "v/f2.JPG", "v/f1.jpg", "v/deep/x.png", "v/notes.txt", "v/._f1.jpg", "out/overlays/f1.jpg",
        "[a].jpg",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(tree: Path, *given: str) -> list[str]:
    images = find_images(tuple(str(tree / argument) for argument in given), tree / "out")
    return [image.relative_to(tree).as_posix() for image in images]


def test_a_folder_gives_its_images_in_natural_order_at_any_depth(tree: Path) -> None:
    assert found(tree, "v") == ["v/deep/x.png", "v/f1.jpg", "v/f2.JPG", "v/f10.jpg"]


def test_a_phone_s_files_are_taken_so_that_they_are_named_as_unreadable(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").touch()
    assert found(tmp_path, ".") == ["IMG_1.HEIC"]


def test_a_glob_gives_what_the_shell_would(tree: Path) -> None:
    assert found(tree, "v/f*.jpg") == ["v/f1.jpg", "v/f10.jpg"]
    assert found(tree, "**/*.png") == ["v/deep/x.png"]
    assert found(tree, "v/*") == ["v/deep/x.png", "v/f1.jpg", "v/f2.JPG", "v/f10.jpg"]


def test_arguments_keep_their_order_and_a_file_is_taken_once_whatever_its_suffix(tree: Path) -> None:
    assert found(tree, "v/notes.txt", "v/f2.JPG", "v", "v/../v/f1.jpg") == [
        "v/notes.txt", "v/f2.JPG", "v/deep/x.png", "v/f1.jpg", "v/f10.jpg"
    ]  # fmt: skip


def test_earlier_results_are_no_images(tree: Path) -> None:
    assert "out/overlays/f1.jpg" not in found(tree, ".")


def test_brackets_in_a_name_that_exists_are_no_glob(tree: Path) -> None:
    assert found(tree, "[a].jpg") == ["[a].jpg"]


@pytest.mark.parametrize(("argument", "said"), [("v/none.jpg", "does not exist"), ("v/*.gif", "has no image")])
def test_what_names_nothing_is_refused(tree: Path, argument: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        found(tree, argument)


def test_an_empty_text_is_not_the_current_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    with pytest.raises(ConfigError, match="empty text does not exist"):
        find_images(("",), tree / "out")


def test_a_folder_without_images_is_refused(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(ConfigError, match="has no image"):
        found(tree, "v", "empty")


def test_overlays_keep_the_path_below_the_shared_folder() -> None:
    assert overlay_names([Path("/d/a/x.jpg"), Path("/d/b/x.jpg"), Path("/d/b/y.tif")]) == [
        "a/x.jpg", "b/x.jpg", "b/y.tif.png"
    ]  # fmt: skip
    assert overlay_names([Path("/d/a/x.jpg")]) == ["x.jpg"]
    assert overlay_names([Path("/d/" + 125 * "é" + ".webp")]) == [125 * "é" + ".png"]  # 255 bytes without .png


FOLDERS = st.sampled_from(["a", "A", "a/b"])
NAMES = st.sampled_from(["x.jpg", "x.JPG", "x.png", "x.bmp", "x.bmp.png"])


@given(st.lists(st.tuples(FOLDERS, NAMES), min_size=1, unique=True))
def test_no_two_overlays_have_the_same_name_even_where_case_does_not_count(files: list[tuple[str, str]]) -> None:
    names = overlay_names([Path("/d", folder, name) for folder, name in files])
    assert len({name.casefold() for name in names}) == len(files)
    assert all(Path(name).suffix.lower() in (".jpg", ".png") and ".." not in name for name in names)
