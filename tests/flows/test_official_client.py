"""The broker's own client, unchanged, trades against the venue."""

import json
import subprocess
import sys

from tests.harness.command import REPOSITORY
from tests.harness.venue_process import venue_process


def test_the_official_client_signs_in_trades_and_reads_history_without_knowing_that_it_is_not_at_the_broker():
    with venue_process("--seed", 5, "--pace", "3600x") as venue:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", REPOSITORY / "tests/harness/official_client.py", json.dumps(venue)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)

    assert said["errors"] == []
    assert said["accounts"] == [account["ctidTraderAccountId"] for account in venue["accounts"]]
    assert (said["symbol"], said["balance"]) == ("EURUSD", venue["accounts"][0]["balance"])
    assert (said["lot"], said["digits"]) == (10_000_000, 5)
    assert said["first_event"] == "ORDER_ACCEPTED"
    price, stop, target = said["protected"]
    assert (round(price - stop, 5), round(target - price, 5)) == (0.05, 0.09)
    assert said["amended"] == ["ORDER_REPLACED", round(stop - 0.001, 5)]
    assert [row[1:] for row in said["open"]] == [[200_000, round(stop - 0.001, 5)]]
    assert said["executions"] == [
        ["ORDER_ACCEPTED", False], ["ORDER_FILLED", False], ["ORDER_ACCEPTED", True], ["ORDER_REPLACED", False],
        ["ORDER_ACCEPTED", False], ["ORDER_FILLED", False], ["ORDER_CANCELLED", True],
    ]  # fmt: skip
    assert said["left_open"] == 0
    assert said["deals"] == [[2, 200_000], [1, 200_000]]
    assert said["balance_after"] == said["balance"] + said["booked"]
    assert said["bars"] > 40
    assert said["bars_complete"]
    assert said["ticks"] > 100
    assert said["old_refresh_token"]
    assert said["tokens_differ"]
    assert said["logged_in_again"]
