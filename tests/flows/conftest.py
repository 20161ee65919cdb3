"""What the flow tests share."""

import pytest

from tests.harness.command import BARE, CONFIG, last_line, paper_arguments, plimsoll


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a configuration, and a state directory that holds trained models and one finished run."""
    base = tmp_path_factory.mktemp("paper")
    (base / "plimsoll.toml").write_text(CONFIG)
    (base / "bare.toml").write_text(BARE)
    result = last_line(plimsoll(*paper_arguments(base, base / "state")))
    return base, result
