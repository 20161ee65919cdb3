"""`plimsoll paper` on a user's own files: bars, ticks, several symbols, other currencies, and files that cannot do."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.messages import OrderFilled, Quote
from daemon.journal import read
from tests.harness.command import CONFIG, plimsoll

pytestmark = pytest.mark.timeout(300)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
START_S = 1_525_132_800  # Tuesday, 1 May 2018, 00:00 UTC
EAGER = CONFIG + '[strategy]\nname = "metronome"\n[store]\nenabled = false\n'
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the repository")


def stamp(second):
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}"


def write_bars(path, *, price, pip, count=1000, first_s=START_S, step_s=3600, seed=3):
    source = random.Random(seed)
    lines, last = ["time,open,high,low,close,volume"], price
    for number in range(count):
        close = last + source.gauss(0, 8 * pip)
        high, low = max(last, close) + 2 * pip, min(last, close) - 2 * pip
        values = ",".join(f"{value:.5f}" for value in (last, high, low, close))
        lines.append(f"{stamp(first_s + number * step_s)},{values},10")
        last = close
    path.write_text("\n".join(lines) + "\n")


def write_ticks(path, *, count=4000, step_s=900):
    source = random.Random(5)
    lines, bid = ["time,bid,ask"], 1.2
    for number in range(count):
        bid += source.gauss(0, 0.0004)
        lines.append(f"{stamp(START_S + number * step_s)},{bid:.5f},{bid + 0.00008:.5f}")
    path.write_text("\n".join(lines) + "\n")


def paper(folder, data, *more, config=EAGER):
    (folder / "c.toml").write_text(config)
    return plimsoll("paper", "--headless", "--json", "--no-web", "--config", folder / "c.toml",
                    "--state", folder / "state", "--data", data, *more)  # fmt: skip


def result_of(done):
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_a_folder_with_two_symbols_values_yen_in_dollars(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_bars(data / "EURUSD.csv", price=1.2, pip=0.0001)
    write_bars(data / "USDJPY.csv", price=110.0, pip=0.01, seed=4)

    done = paper(tmp_path, data)
    result = result_of(done)

    assert done.stderr == ""
    assert {row["symbol"] for row in result["coverage"]} == {"EURUSD", "USDJPY"}
    assert result["trades"] > 0
    assert result["money_conserved"] is True
    entries, mids, checked = {}, {}, 0
    for record in read(Path(result["journal"])):
        message = record.message
        if isinstance(message, Quote):
            mids[message.symbol] = (message.bid_e5 + message.ask_e5) / 2e5
        elif isinstance(message, OrderFilled) and message.symbol == "USDJPY":
            if not message.closing:
                entries[message.position_id] = message
                continue
            entry = entries[message.position_id]
            yen = (message.price_e5 - entry.price_e5) / 1e5 * message.volume_e2 / 100 * entry.side
            assert message.gross_profit / 100 == pytest.approx(yen / mids["USDJPY"], rel=0.005, abs=0.02)
            checked += 1
    assert checked > 0


def test_ticks_become_bars_and_are_traded_as_they_are(tmp_path):
    write_ticks(tmp_path / "EURUSD.csv")
    result = result_of(paper(tmp_path, tmp_path / "EURUSD.csv"))

    assert result["quotes"] == 400
    assert result["bars"] == 100
    assert result["trades"] > 0


def test_models_of_other_data_are_taken_only_where_they_have_not_seen_what_is_traded(tmp_path):
    """Older models may trade newer prices. Models that learnt from the traded prices are trained anew."""
    write_bars(tmp_path / "EURUSD.csv", price=1.2, pip=0.0001, count=1500)
    all_of_it = (tmp_path / "EURUSD.csv").read_text().splitlines()
    earlier = tmp_path / "earlier" / "EURUSD.csv"
    earlier.parent.mkdir()
    earlier.write_text("\n".join(all_of_it[:1101]) + "\n")  # trades the last tenth of 1,100: bars 990 to 1,099

    def models():
        done = plimsoll("models", "list", "--json", "--state", tmp_path / "state")
        return {each["model_id"] for each in json.loads(done.stdout)["models"] if each["current"]}

    late = plimsoll("train", "--json", "--config", config_in(tmp_path), "--state", tmp_path / "state",
                    "--data", tmp_path / "EURUSD.csv")  # fmt: skip
    assert late.returncode == 0, late.stderr
    trained_late = models()
    result_of(paper(tmp_path, tmp_path / "EURUSD.csv"))
    assert models() == trained_late  # what `train` published on the same data is used

    result_of(paper(tmp_path, earlier))
    trained_early = models()
    assert not trained_early & trained_late  # calibrated up to bar 1,349: it has seen what is traded here

    done = paper(tmp_path, tmp_path / "EURUSD.csv")
    result_of(done)
    assert models() == trained_early  # these have seen nothing after bar 989


def config_in(folder):
    (folder / "c.toml").write_text(EAGER)
    return folder / "c.toml"


def test_a_symbol_that_nothing_values_is_said_before_the_day_begins(tmp_path):
    write_bars(tmp_path / "EURGBP.csv", price=0.88, pip=0.0001)
    done = paper(tmp_path, tmp_path / "EURGBP.csv")

    result = result_of(done)
    assert result["refused"] == result["intents"] > 0
    assert (
        "EURGBP: every order will be refused, for no symbol in the data links GBP to the account's USD" in done.stderr
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: write_bars(data / "EURUSD.csv", price=1.2, pip=0.0001, count=90), "90 bars of 3600 s are too"),
        (lambda data: write_ticks(data / "EURUSD.csv", count=3), "1 bar of 3600 s is too few"),
        (lambda data: (data / "EURUSD.csv").write_text("hello\n"), "nothing to read for any symbol"),
        (lambda data: None, "nothing to read for any symbol"),
    ],
    ids=["short", "one-bar", "unknown", "empty"],
)  # fmt: skip
def test_a_folder_that_cannot_do_is_one_clear_line(make, message, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    make(data)
    done = paper(tmp_path, data)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_symbols_of_different_times_are_refused_with_the_dates(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_bars(data / "EURUSD.csv", price=1.2, pip=0.0001, count=1200)
    write_bars(data / "USDJPY.csv", price=110.0, pip=0.01, first_s=START_S + 1150 * 3600)
    done = paper(tmp_path, data)

    assert done.returncode == 1
    assert "USDJPY has 0 bars to learn from" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_shared
def test_an_original_with_both_sides_pays_its_own_spread(tmp_path):
    source = SHARED / "raw" / "lean" / "forex" / "oanda" / "minute" / "eurusd" / "20140501_quote.zip"
    result = result_of(paper(tmp_path, source))

    assert result["quotes"] > 500
    assert result["money_conserved"] is True


@needs_shared
def test_an_original_that_is_too_short_is_one_clear_line(tmp_path):
    done = paper(tmp_path, SHARED / "raw" / "truefx" / "USDJPY_ticks.csv")

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "data.period_s" in done.stderr
