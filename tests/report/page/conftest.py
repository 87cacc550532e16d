"""Pages that several tests read, each made once."""

import pytest
from report.page.made_up import make_up, write


@pytest.fixture(scope="session")
def smoke_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(make_up(tmp_path_factory.mktemp("smoke")))


@pytest.fixture(scope="session")
def paper_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(make_up(tmp_path_factory.mktemp("paper"), "paper"))
