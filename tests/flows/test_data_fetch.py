"""`plimsoll data fetch` against a venue in another process, over TLS: the venue's own prices, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from adapters import history
from adapters.history.archive import locked
from adapters.history.parquet import encode
from bus.calendar import to_ns, trading_day
from bus.series import TickSeries
from bus.values import NS_PER_HOUR, NS_PER_MS, NS_PER_S
from daemon import marketdata
from tests.harness.command import REPOSITORY, plimsoll
from tests.harness.venue_process import venue_process

SAMPLE = history.sample()
MINUTE_NS = 60 * NS_PER_S


def at(*moment):
    return to_ns(datetime(*moment, tzinfo=UTC))


@pytest.fixture(scope="module")
def venue():
    """The sample's hours; the newest price is of 2017-12-07 23:40, in the hour that forms."""
    with venue_process("--seed", 5) as told:
        yield told


def environment_of(venue, **more):
    return {
        **os.environ,
        "PLIMSOLL_CTRADER_HOST": venue["host"],
        "PLIMSOLL_CTRADER_PORT": str(venue["port"]),
        "PLIMSOLL_CTRADER_CA_FILE": venue["ca_file"],
        "PLIMSOLL_CTRADER_CLIENT_ID": venue["client_id"],
        "PLIMSOLL_CTRADER_CLIENT_SECRET": venue["client_secret"],
        "PLIMSOLL_CTRADER_ACCESS_TOKEN": venue["access_token"],
        **more,
    }


def command(folder, *more, symbol="EURUSD"):
    return [sys.executable, "-m", "daemon", "data", "fetch", "--symbol", symbol, "--out", str(folder),
            *map(str, more)]  # fmt: skip


def fetch(venue, folder, *more, symbol="EURUSD", **environment):
    return subprocess.run(
        command(folder, *more, symbol=symbol), cwd=REPOSITORY, env=environment_of(venue, **environment),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def told(done):
    """What it says to machines: one line a symbol and nothing else."""
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def bytes_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# --- what is fetched ---------------------------------------------------------------------------------------------


def test_hours_are_those_of_the_venue_and_the_one_that_forms_is_left_out(venue, tmp_path):
    wish = ("--granularity", "H1", "--from", "2017-01-01", "--to", "2019-01-01", "--json")
    (line,) = told(fetch(venue, tmp_path, *wish))

    complete = SAMPLE.slice(0, int(np.searchsorted(SAMPLE.ts_open_ns, at(2017, 12, 7, 23))))
    (series,) = history.read(tmp_path)
    for name in ("ts_open_ns", "open_e5", "high_e5", "low_e5", "close_e5"):
        assert np.array_equal(getattr(series, name), getattr(complete, name)), name
    assert series.period_ns == NS_PER_HOUR
    assert line == {
        "symbol": "EURUSD", "granularity": "H1", "from": "2017-01-01T00:00:00Z", "to": "2019-01-01T00:00:00Z",
        "complete_to": "2017-12-07T23:00:00Z", "rows": len(complete), "fetched": len(complete), "requests": 3,
        "throttled": 0, "files": 1, "folder": str(tmp_path), "resumed_from": None,
    }  # fmt: skip

    # Once more: nothing is asked but where the present is, and nothing changes.
    before = bytes_of(tmp_path)
    (again,) = told(fetch(venue, tmp_path, *wish))
    assert (again["requests"], again["fetched"], again["rows"]) == (1, 0, len(complete))
    assert again["resumed_from"] == "2019-01-01T00:00:00Z"
    assert bytes_of(tmp_path) == before


def test_days_begin_at_five_in_the_afternoon_of_new_york(venue, tmp_path):
    told(fetch(venue, tmp_path, "--granularity", "d1", "--from", "2017-10-01", "--to", "2017-12-01", "--json"))

    (series,) = history.read(tmp_path)
    days = {}
    for row, opens_ns in enumerate(SAMPLE.ts_open_ns.tolist()):
        days.setdefault(trading_day(opens_ns), []).append(row)
    for row, opens_ns in enumerate(series.ts_open_ns.tolist()):
        own = days[trading_day(opens_ns)]
        assert (series.open_e5[row], series.close_e5[row]) == (SAMPLE.open_e5[own[0]], SAMPLE.close_e5[own[-1]])
        assert (series.high_e5[row], series.low_e5[row]) == (SAMPLE.high_e5[own].max(), SAMPLE.low_e5[own].min())
    assert len(series) > 40
    assert set(series.ts_open_ns // NS_PER_HOUR % 24) == {21, 22}  # summer, winter


def test_a_longer_wish_asks_only_for_what_is_missing(venue, tmp_path):
    straight, grown = tmp_path / "straight", tmp_path / "grown"
    whole = ("--granularity", "M5", "--from", "2017-06-01", "--to", "2017-09-01", "--json")
    (all_at_once,) = told(fetch(venue, straight, *whole))
    (middle,) = told(fetch(venue, grown, "--granularity", "M5", "--from", "2017-06-10", "--to", "2017-08-15T12:30",
                           "--json"))  # fmt: skip
    (rest,) = told(fetch(venue, grown, *whole))

    assert bytes_of(grown) == bytes_of(straight)
    assert middle["rows"] + rest["fetched"] == rest["rows"] == all_at_once["rows"]
    assert rest["resumed_from"] == "2017-09-01T00:00:00Z"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Ticks of two symbols over nine days with a quiet end of week, and a venue that has them."""
    folder = tmp_path_factory.mktemp("ticks")
    dice = np.random.default_rng(7)
    made = {}
    for name, base in (("EURUSD", 110_000), ("GBPUSD", 130_000)):
        times = at(2024, 6, 3) + np.sort(dice.integers(0, 9 * 86_400_000, 9_000)) * NS_PER_MS
        times = times[(times < at(2024, 6, 7, 21)) | (times > at(2024, 6, 9, 21))]
        bids = base + np.cumsum(dice.integers(-2, 3, len(times)))
        made[name] = TickSeries(symbol=name, ts_ns=times, bid_e5=bids, ask_e5=bids + dice.integers(1, 5, len(times)))
        (folder / f"{name}.parquet").write_bytes(encode(made[name], {"symbol": name}))
    with venue_process("--seed", 5, "--data", folder, "--from", "2024-06-11T12:00:00") as venue:
        yield venue, made


def changes_of(series, from_ns, to_ns):
    """The quotes that a source's ticks are to a reader of both sides: one a millisecond in which a side moved."""
    rows = {}
    last = None
    for moment, bid, ask in zip(*(each.tolist() for each in (series.ts_ns, series.bid_e5, series.ask_e5)), strict=True):
        if (bid, ask) != last:
            rows[moment] = last = (bid, ask)
    return [(moment, *prices) for moment, prices in rows.items() if from_ns <= moment < to_ns]


def test_ticks_of_two_symbols_are_those_of_the_venue_up_to_two_minutes_before_its_present(recorded, tmp_path):
    venue, made = recorded
    lines = told(fetch(venue, tmp_path, "--symbol", "gbp/usd", "--granularity", "ticks", "--from", "2024-06-04T06:00",
                       "--to", "2024-06-20", "--json"))  # fmt: skip

    assert [line["symbol"] for line in lines] == ["EURUSD", "GBPUSD"]
    found = {series.symbol: series for series in history.read(tmp_path)}
    for line in lines:
        series, source = found[line["symbol"]], made[line["symbol"]]
        newest_ns = int(source.ts_ns[np.searchsorted(source.ts_ns, at(2024, 6, 11, 12)) - 1])
        end_ns = newest_ns // MINUTE_NS * MINUTE_NS - MINUTE_NS
        rows = list(zip(series.ts_ns.tolist(), series.bid_e5.tolist(), series.ask_e5.tolist(), strict=True))
        assert rows == changes_of(source, at(2024, 6, 4, 6), end_ns)
        assert at(*time.strptime(line["complete_to"], "%Y-%m-%dT%H:%M:%SZ")[:6]) == end_ns
        assert line["rows"] == line["fetched"] == len(rows)
        assert line["throttled"] == 0


def test_a_paper_day_can_be_made_of_the_folder_as_it_is(venue, tmp_path):
    told(fetch(venue, tmp_path, "--granularity", "H1", "--from", "2017-01-01", "--json", "--to", "2017-12-01"))

    data = marketdata.load(tmp_path, symbols=(), clock=None, period_s=0, spread_of=lambda _: history.SpreadModel(),
                           train_pct=60, calibrate_pct=20)  # fmt: skip
    assert [symbol.symbol for symbol in data.symbols] == ["EURUSD"]
    assert data.period_ns == NS_PER_HOUR
    assert data.notes == ()
    assert data.trade_quote_count() > 2_000


# --- interrupted ---------------------------------------------------------------------------------------------------


def test_killed_again_and_again_it_ends_with_the_same_bytes_and_asks_for_nothing_twice(venue, tmp_path):
    straight, folder = tmp_path / "straight", tmp_path / "killed"
    wish = ("--granularity", "ticks", "--from", "2017-10-15", "--to", "2017-11-12", "--json")
    (undisturbed,) = told(fetch(venue, straight, *wish))
    kills, done = 0, None
    while done is None:
        before = len(bytes_of(folder)) if folder.exists() else 0
        process = subprocess.Popen(
            command(folder, *wish), cwd=REPOSITORY, env=environment_of(venue), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while process.poll() is None:
            if kills < 2 and folder.exists() and len(list(folder.rglob("*.parquet"))) > before:
                process.kill()
                kills += 1
                break
            time.sleep(0.005)
        output, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            done = json.loads(output)
        else:
            assert process.returncode == -signal.SIGKILL, errors

    assert kills == 2
    assert done["resumed_from"] is not None
    assert done["rows"] == undisturbed["rows"]
    assert done["requests"] < undisturbed["requests"]
    assert bytes_of(folder) == bytes_of(straight)


def test_stopped_politely_it_says_so_and_goes_on_where_it_was(venue, tmp_path):
    wish = ("--granularity", "M1", "--from", "2017-07-01", "--to", "2017-11-01", "--json")
    process = subprocess.Popen(
        command(tmp_path, *wish), cwd=REPOSITORY, env=environment_of(venue), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.rglob("*.parquet")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)

    assert (process.returncode, output, errors) == (130, "", "stopped\n")
    (line,) = told(fetch(venue, tmp_path, *wish))
    assert line["resumed_from"] is not None
    assert 0 < line["fetched"] < line["rows"]


def test_a_second_one_in_the_same_folder_is_sent_away(venue, tmp_path):
    with locked(tmp_path):
        line = one_line(fetch(venue, tmp_path, "--granularity", "M1", "--from", "2017-04-01"))
    assert f"process {os.getpid()}" in line


def test_a_venue_full_of_faults_gives_the_same_bytes(venue, tmp_path):
    straight, folder = tmp_path / "straight", tmp_path / "faults"
    wish = ("--granularity", "M1", "--from", "2017-07-01", "--to", "2017-11-01", "--json")
    told(fetch(venue, straight, *wish))
    faults = [
        {"kind": "latency", "min_ms": 1, "max_ms": 120},
        {"kind": "reset_within", "on": "GetTrendbarsRes", "nth": 2},
        {"kind": "reset_before", "on": "GetTrendbarsReq", "nth": 4},
        {"kind": "double", "on": "GetTrendbarsRes", "times": 0},
        {"kind": "throttle", "payload_type": 2137, "at_s": 1.0, "for_s": 2},
        {"kind": "account_disconnect", "at_s": 0.6},
    ]
    with venue_process("--seed", 5, "--faults", json.dumps(faults)) as bad:
        told(fetch(bad, folder, *wish))

    assert bytes_of(folder) == bytes_of(straight)


def test_without_an_answer_it_gives_up_with_one_line_and_keeps_what_it_has(venue, tmp_path):
    wish = ("--granularity", "M1", "--from", "2017-07-01", "--to", "2017-11-01")
    faults = [{"kind": "throttle", "payload_type": 2137, "at_s": 1.0, "for_s": 1_000}]
    with venue_process("--seed", 5, "--faults", json.dumps(faults)) as bad:
        line = one_line(fetch(bad, tmp_path, *wish, "--patience", "2"), code=1)
    assert "no answer to GetTrendbarsReq" in line

    (line,) = told(fetch(venue, tmp_path, *wish, "--json"))
    assert line["resumed_from"] is not None
    assert line["fetched"] < line["rows"]


# --- refused -------------------------------------------------------------------------------------------------------


def one_line(done, code=78):
    """The one line that a failure says; no traceback, no secret."""
    assert done.returncode == code, done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (("--granularity", "MN1", "--from", "2017-01-01"), "months have no fixed length; fetch D1"),
        (("--granularity", "H2", "--from", "2017-01-01"), "write one of M1 M2 M3 M4 M5 M10 M15 M30 H1 H4 H12 D1 W1"),
        (("--from", "2017-02-01", "--to", "2017-02-01"), "is not after --from"),
        (("--from", "2017-02-01", "--to", "2017-01-01"), "is not after --from"),
        (("--from", "2999-01-01"), "--from 2999-01-01T00:00:00Z lies in the future"),
        (("--from", "2017-01-01", "--to", "2999-01-01"), "leave --to out"),
        (("--from", "1969-01-01", "--to", "2017-01-01"), "no prices before 1970"),
        (("--from", "2017-01-01", "--account", "5"), "this login covers 1001, 1002"),
        (("--symbol", "EURUDS", "--from", "2017-01-01"), "EURUDS: this broker has no such symbol; near it: EURUSD"),
        (
            ("--symbol", "XAG", "--from", "2017-01-01"),
            "XAG: this broker has no such symbol; it has, for instance, EURUSD",
        ),
    ],
)
def test_what_cannot_be_obeyed_is_one_line_that_says_why(venue, tmp_path, wish, words):
    assert words in one_line(fetch(venue, tmp_path, *wish))
    assert not bytes_of(tmp_path)


def test_a_folder_of_another_granularity_or_maker_is_refused(venue, tmp_path):
    told(fetch(venue, tmp_path, "--granularity", "D1", "--from", "2017-06-01", "--to", "2017-07-01", "--json"))
    assert "D1 or H1, not both" in one_line(fetch(venue, tmp_path, "--granularity", "H1", "--from", "2017-06-01"))

    (tmp_path / "notes.csv").write_text("x")
    assert "notes.csv" in one_line(fetch(venue, tmp_path, "--granularity", "D1", "--from", "2017-06-01"))


def test_a_folder_that_cannot_be_made_is_one_line(venue, tmp_path):
    (tmp_path / "file").write_text("")
    assert "choose another folder" in one_line(fetch(venue, tmp_path / "file" / "x", "--from", "2017-06-01"))


def test_nobody_logged_in_says_what_to_do(venue, tmp_path):
    done = fetch(venue, tmp_path, "--from", "2017-06-01", "--state", tmp_path / "s", PLIMSOLL_CTRADER_ACCESS_TOKEN="")
    assert "plimsoll auth login" in one_line(done)


def test_a_wrong_token_is_one_line_without_the_token(venue, tmp_path):
    done = fetch(venue, tmp_path, "--from", "2017-06-01", PLIMSOLL_CTRADER_ACCESS_TOKEN="wrong-token-text")
    line = one_line(done)
    assert "PLIMSOLL_CTRADER_ACCESS_TOKEN" in line
    assert "wrong-token-text" not in line


def test_people_are_told_in_words_what_there_is_and_what_to_do_with_it(venue, tmp_path):
    done = fetch(venue, tmp_path, "--from", "2017-11-01", "--to", "2018-01-01")

    assert done.returncode == 0
    assert f"plimsoll paper --data {tmp_path}" in done.stdout
    assert "H1 bars from 2017-11-01T00:00:00Z to 2017-12-07T23:00:00Z" in done.stdout
    assert "nothing is complete at the broker yet" in done.stderr


def test_the_help_teaches_by_examples_that_keep_their_lines():
    done = plimsoll("data", "fetch", "--help")
    example = "  plimsoll data fetch --symbol EURUSD --granularity H1 --from 2020-01-01 --to 2021-01-01"
    assert example in [line[2:] for line in done.stdout.splitlines()]
