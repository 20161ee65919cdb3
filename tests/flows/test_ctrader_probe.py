"""`plimsoll ctrader probe` against a venue in another process, over TLS."""

import json
import os
import subprocess
import sys

import pytest

from tests.harness.command import REPOSITORY
from tests.harness.venue_process import venue_process


@pytest.fixture(scope="module")
def venue():
    with venue_process("--seed", 5, "--pace", "3600x") as told:
        yield told


def probe(venue, tmp_path, *more, **environment):
    known = {
        "PLIMSOLL_CTRADER_HOST": venue["host"],
        "PLIMSOLL_CTRADER_PORT": str(venue["port"]),
        "PLIMSOLL_CTRADER_CA_FILE": venue["ca_file"],
        "PLIMSOLL_CTRADER_CLIENT_ID": venue["client_id"],
        "PLIMSOLL_CTRADER_CLIENT_SECRET": venue["client_secret"],
        "PLIMSOLL_CTRADER_ACCESS_TOKEN": venue["access_token"],
    }
    return subprocess.run(
        [sys.executable, "-m", "daemon", "ctrader", "probe", "--state", tmp_path, *more],
        cwd=REPOSITORY, env={**os.environ, **known, **environment}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def one_line(done, code=1):
    """The one line that a failure says; no traceback, no secret."""
    assert done.returncode == code, done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return line


def test_the_probe_tells_accounts_symbols_round_trip_and_clock(venue, tmp_path):
    done = probe(venue, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert [each["ctidTraderAccountId"] for each in told["accounts"]] == [
        each["ctidTraderAccountId"] for each in venue["accounts"]
    ]
    assert {each["symbols"] for each in told["accounts"]} == {len(venue["symbols"])}
    assert told["round_trip_ms"]["requests"] == 20
    assert 0 < told["round_trip_ms"]["p50"] <= told["round_trip_ms"]["max"] < 10_000
    assert told["clock_offset_ms"] < -1_000_000  # the venue's prices were recorded years ago
    assert told["version"]
    assert not done.stderr


def test_the_probe_speaks_to_people_by_host_name_too(venue, tmp_path):
    done = probe(venue, tmp_path, PLIMSOLL_CTRADER_HOST="localhost")

    assert done.returncode == 0, done.stderr
    assert "certificate and host name verified" in done.stdout
    assert str(venue["accounts"][0]["ctidTraderAccountId"]) in done.stdout
    assert "recorded, or the market is closed" in done.stdout


def test_the_probe_shows_the_depth_of_a_symbol_by_both_of_its_names(venue, tmp_path):
    done = probe(venue, tmp_path, "--json", "--depth", "EUR/USD")
    assert done.returncode == 0, done.stderr
    depth = json.loads(done.stdout)["depth"]
    assert depth["symbol"] == "EURUSD"
    bids, asks = ([price for price, _ in depth[side]] for side in ("bids", "asks"))
    assert len(bids) == len(asks) == 5
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0] < bids[0] + 0.01
    assert min(size for side in ("bids", "asks") for _, size in depth[side]) > 0

    shown = probe(venue, tmp_path, "--depth", "EURUSD").stdout
    assert "depth of EURUSD" in shown
    assert "bid size" in shown


def test_depth_of_a_symbol_that_there_is_not_is_one_clear_line(venue, tmp_path):
    line = one_line(probe(venue, tmp_path, "--depth", "EURUSF"), code=78)

    assert "--depth: this broker has no EURUSF; it has EURUSD" in line


def test_a_server_that_no_trusted_authority_vouches_for_is_refused(venue, tmp_path):
    with venue_process("--seed", 6) as other:
        line = one_line(probe(venue, tmp_path, PLIMSOLL_CTRADER_CA_FILE=other["ca_file"]))

    assert "no trusted authority vouches for the server's certificate" in line


def test_without_an_authority_of_its_own_the_venue_is_not_trusted(venue, tmp_path):
    line = one_line(probe(venue, tmp_path, PLIMSOLL_CTRADER_CA_FILE=""))

    assert "no trusted authority" in line


def test_a_certificate_for_another_host_is_refused(venue, tmp_path):
    with venue_process("--seed", 6, "--host", "0.0.0.0") as everywhere:
        line = one_line(probe({**everywhere, "host": "127.0.0.2"}, tmp_path))

    assert "the server's certificate is not for 127.0.0.2" in line


def test_a_wrong_token_is_one_clear_line_without_the_token(venue, tmp_path):
    line = one_line(probe(venue, tmp_path, PLIMSOLL_CTRADER_ACCESS_TOKEN="wrong-token-text"))

    assert "TOKEN" in line
    assert "wrong-token-text" not in line


def test_a_wrong_secret_is_one_clear_line_without_the_secret(venue, tmp_path):
    line = one_line(probe(venue, tmp_path, PLIMSOLL_CTRADER_CLIENT_SECRET="wrong-secret-text"))

    assert "CH_CLIENT_AUTH_FAILURE" in line
    assert "wrong-secret-text" not in line


def test_nobody_there_is_one_clear_line(venue, tmp_path):
    line = one_line(probe(venue, tmp_path, PLIMSOLL_CTRADER_PORT="1"))

    assert f"{venue['host']}:1" in line


def test_nobody_logged_in_says_what_to_do(venue, tmp_path):
    line = one_line(probe(venue, tmp_path, PLIMSOLL_CTRADER_ACCESS_TOKEN=""), code=78)

    assert "plimsoll auth login" in line
