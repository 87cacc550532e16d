"""The figures of docs/reliability.md are those of the record."""

import pytest
from faults.harness import FULL
from faults.kinds import KINDS
from faults.ledger import FILE, PAGE, Ledger, as_markdown, read
from faults.test_fuzz import COUNTS

of_the_record = pytest.mark.skipif(FULL, reason="`make faults` is writing the record")


@of_the_record
def test_the_page_shows_the_record() -> None:
    lines = read(FILE)
    assert as_markdown(lines) in PAGE.read_text(encoding="utf-8")
    assert lines and all(int(line["injected"]) > 0 for line in lines)
    assert {line["fault"] for line in lines} == {kind.name for kind in KINDS} | {
        f"bad files: {name}" for name in COUNTS
    }


@of_the_record
def test_everything_that_was_injected_was_survived() -> None:
    assert all(line["survived"] == line["injected"] for line in read(FILE))


def test_a_fault_counts_as_survived_only_where_nothing_was_raised() -> None:
    ledger = Ledger()
    with pytest.raises(AssertionError), ledger.injecting("a", "how", 2):
        raise AssertionError
    with ledger.injecting("a", "how") as line:
        line.injected += 1
    with ledger.injecting("a", "how") as line:
        line.injected -= 1  # there was nothing to kill
    assert (ledger.lines["a"].injected, ledger.lines["a"].survived) == (4, 2)
