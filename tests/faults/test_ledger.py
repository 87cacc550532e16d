"""The figures of docs/reliability.md are those of the record."""

from faults.ledger import FILE, as_markdown, read

from contrastmask.yamlfiles import ROOT


def test_the_page_shows_the_record() -> None:
    lines = read(FILE)
    assert as_markdown(lines) in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert lines and all(int(line["injected"]) > 0 for line in lines)


def test_everything_that_was_injected_was_survived() -> None:
    assert all(line["survived"] == line["injected"] for line in read(FILE))
