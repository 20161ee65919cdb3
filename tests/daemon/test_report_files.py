import csv
import json
import re
from decimal import Decimal

import msgspec
import pytest

from bus import messages as m
from daemon.report import ReportContext, write_report
from risk.adherence import Adherence
from tests.harness.journals import synthetic_run

CONTEXT = ReportContext(
    title="A day <b>of</b> paper trading",
    mode="paper",
    symbols=("EURUSD",),
    data="synthetic prices & nothing else",
    journal="runs/0001/journal",
    decisions_sha256="ab" * 32,
    started="2026-01-01 10:00 UTC",
    ended="2026-01-01 10:02 UTC",
)


def folded(journal):
    adherence = Adherence()
    for seq, message in journal:
        adherence.add(seq, message)
    return adherence


@pytest.fixture(scope="module")
def adherence():
    return folded(synthetic_run(300))


@pytest.fixture(scope="module")
def paths(adherence, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report") / "new" / "folder", adherence, CONTEXT)


def rows_of(paths, name):
    path = next(path for path in paths.csvs if path.stem == name)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_journal_gives_the_same_bytes(adherence, paths, tmp_path):
    again = write_report(tmp_path, adherence, CONTEXT)

    for first, second in zip((paths.html, paths.json, *paths.csvs), (again.html, again.json, *again.csvs), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_nothing_half_written_stays_behind_and_a_second_report_replaces_the_first(adherence, paths):
    before = sorted(path.name for path in paths.html.parent.iterdir())
    write_report(paths.html.parent, adherence, CONTEXT)

    assert sorted(path.name for path in paths.html.parent.iterdir()) == before
    assert before == ["days.csv", "forecasts.csv", "refusals.csv", "report.html", "report.json", "trades.csv"]


def test_json_and_csv_tell_the_same_money(adherence, paths):
    told = json.loads(paths.json.read_bytes())
    net = told["summary"]["total"]["net"]

    assert net == adherence.summary().total.net
    for name in ("trades", "days"):
        assert sum(Decimal(row["net"]) for row in rows_of(paths, name)) == Decimal(net) / 100
    assert told["context"]["decisions_sha256"] == CONTEXT.decisions_sha256
    assert len(rows_of(paths, "trades")) == len(told["summary"]["trades"])
    assert len(rows_of(paths, "refusals")) == len(told["summary"]["refusals"])


def test_every_forecast_table_has_its_random_walk_row(paths):
    rows = rows_of(paths, "forecasts")

    assert {row["horizon_bars"] for row in rows if row["random_walk"] == "True"} == {"1", "4", "24"}
    assert paths.html.read_text().count('<tr class="walk">') == 3


def test_the_page_says_the_verdict_its_limits_and_where_it_comes_from(paths):
    page = paths.html.read_text()

    for words in ("No edge after costs", "What this report does not say", CONTEXT.decisions_sha256, CONTEXT.journal,
                  "synthetic prices &amp; nothing else", "nothing here promises profit"):  # fmt: skip
        assert words in page


def test_patterns_are_listed_as_shapes_and_not_as_forecasts(adherence, paths):
    page = paths.html.read_text()
    told = {row.key: row.n for row in adherence.summary().pattern_counts}

    assert told["double_top"] > 0
    assert re.search(rf"double top</th><td class=\"dim\">pattern-rules</td><td class=\"n\">{told['double_top']}<", page)
    assert "Shapes, not forecasts" in page


def test_unusual_bars_and_regimes_are_listed_with_their_bars(tmp_path):
    journal = synthetic_run(60)
    at = journal[-1][1].ts_init_ns
    seen = [
        m.RegimeSeen(request_id="q", symbol="EURUSD", model_id="states-1", as_of_ns=at + n, regime=regime,
                     before=before, probabilities_ppm=(500_000, 500_000), ts_init_ns=at + n)
        for n, (before, regime) in enumerate(((0, 0), (0, 1), (1, 1)))
    ]  # fmt: skip
    bar = m.PatternSeen(request_id="q", symbol="EURUSD", pattern="unusual_window", model_id="encoder-1", as_of_ns=at,
                        error_ppm=9, threshold_ppm=5, percentile=99.4, candles=(0,), ts_init_ns=at)  # fmt: skip
    adherence = folded([*journal, *((0, each) for each in (*seen, bar))])
    page = write_report(tmp_path, adherence, CONTEXT).html.read_text()

    assert [(row.key, row.n) for row in adherence.summary().regime_counts] == [
        ("state 0 of 0 to 1", 1), ("state 1 of 0 to 1", 2),
    ]  # fmt: skip
    assert re.search(r"state 1 of 0 to 1</th><td class=\"dim\">states-1, EURUSD</td><td class=\"n\">2<", page)
    assert re.search(r"Unusual bars \(\d+ newest\)", page)
    assert re.search(r"encoder-1</td><td class=\"n\">99.4<", page)


def test_every_plot_is_told_in_words_too(paths):
    page = paths.html.read_text()
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)

    assert len(labels) == page.count("<figcaption>") == page.count("<figure") == 6
    assert all(len(label) > 30 for label in labels)


def test_colours_are_the_pages_own_so_that_dark_and_print_work(paths):
    page = paths.html.read_text()
    plots = "".join(re.findall(r"<svg aria-hidden.*?</svg>", page, flags=re.DOTALL))

    assert not re.findall(r"#0[1-9]0[1-9]0[1-9]", plots)
    assert {"var(--main)", "var(--loss)", "var(--ink)"} <= set(re.findall(r"var\(--\w+\)", plots))
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_identifiers_are_unique_in_the_page(paths):
    names = re.findall(r'\bid="([^"]+)"', paths.html.read_text())

    assert len(names) == len(set(names))


def test_what_a_journal_says_is_escaped_everywhere(tmp_path):
    evil = '<script>alert("x")</script>'
    journal = synthetic_run(60)
    refusal = m.IntentRefused(intent_id="i", strategy=evil, symbol="EURUSD", rule=evil, limit=evil, value="=1+1",
                              would_pass=evil, ts_init_ns=journal[-1][1].ts_init_ns)  # fmt: skip
    halt = m.HaltLatched(level=m.HaltLevel.FLATTEN, rule=evil, limit=evil, value=evil, reason=evil, ts_init_ns=1)
    context = msgspec.structs.replace(CONTEXT, title=evil, data=evil, notes=(evil,), config=evil, ended_because=evil)
    adherence = folded([*journal, (0, refusal), (0, halt)])

    paths = write_report(tmp_path, adherence, context)

    page = paths.html.read_text()
    assert "<script" not in page.lower()
    assert "&lt;script&gt;" in page
    assert rows_of(paths, "refusals")[-1]["value"] == "'=1+1"


def test_an_empty_journal_still_gives_a_readable_page(tmp_path):
    paths = write_report(tmp_path, Adherence(), CONTEXT)

    page = paths.html.read_text()
    assert "No edge after costs" in page
    assert "No trade was closed" in page
    assert "<figure" not in page


def test_two_symbols_have_a_plot_each(tmp_path):
    def other(message):
        names = getattr(message, "__struct_fields__", ())
        return msgspec.structs.replace(message, symbol="GBPUSD") if "symbol" in names else message

    wanted = (m.Quote, m.Bar, m.CalibratedForecast, m.ForecastResolved)
    journal = synthetic_run(80)
    second = [(seq, other(message)) for seq, message in journal if isinstance(message, wanted)]

    page = write_report(tmp_path, folded([*journal, *second]), CONTEXT).html.read_text()

    assert "GBPUSD, the last" in page
    assert "EURUSD, the last" in page
