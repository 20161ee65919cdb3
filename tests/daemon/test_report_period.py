"""The reports of days, weeks, months and trades: what they say is what the roll-up says, and they stand alone."""

import csv
import io
import json
import re
import shutil
import subprocess
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from bus import messages as m
from bus.errors import ConfigError, DataError
from daemon.cli import cli
from daemon.journal import INPUT, Journal
from daemon.report import period, printed
from daemon.report.gather import Gathered, Span, span_of, trade_of
from daemon.report.period import PeriodReport, as_json, write
from daemon.report.period_page import render, second, spoken_span
from daemon.report.period_plots import EXCERPT_BARS
from daemon.report.points import headline, points_of
from daemon.report.timeline import Timeline
from risk.adherence import fold
from risk.adherence.rolled import Rollup
from risk.adherence.rollup import Roll, roll_up
from tests.harness import faulty_day
from tests.harness.journals import synthetic_run
from tests.harness.months import Month

BROWSER = next((path for path in map(shutil.which, printed.BROWSERS) if path), None)


def gathered(journal):
    roll, timeline = Roll(), Timeline()
    for seq, message in journal:
        roll.add(seq, message)
        timeline.add(message, roll.ledger)
    return Gathered(runs=("0001",), mode="paper", roll=roll, timeline=timeline, parities=(), audits=())


def report_of(journal, kind="monthly", wanted=None):
    found = gathered(journal)
    span = span_of(kind, wanted, found.timeline.last_ns)
    rollup, scene = found.of(span)
    return PeriodReport(
        kind=kind, key=span.key, ts_from_ns=span.from_ns, ts_to_ns=span.to_ns, runs=("0001",), mode="paper",
        version="1", rollup=rollup, scene=scene, points=points_of(rollup, scene),
    )  # fmt: skip


@pytest.fixture(scope="module")
def journal():
    return synthetic_run(300)


@pytest.fixture(scope="module")
def report(journal):
    return report_of(journal)


@pytest.fixture(scope="module")
def page(report):
    return render(report)


class Checked(HTMLParser):
    """Complains about tags that are not closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "path", "circle", "use", "rect"})

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        del attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def well_formed(text):
    checked = Checked()
    checked.feed(text)
    assert checked.wrong == []
    assert checked.open == []
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names)), [name for name in set(names) if names.count(name) > 1]
    assert not re.findall(r"https?:|@import|<link (?!rel=\"icon\" href=\"data:)", text)
    assert not re.findall(r"<(script|iframe|object|embed|img|video|audio)\b", text)
    assert re.findall(r"url\((?!#)[^)]*\)", text) == []
    assert "default-src 'none'" in text
    return set(names)


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_every_link_of_a_finding_leads_somewhere(report, page):
    names = well_formed(page)

    assert report.points
    assert set(re.findall(r'href="#([^"]+)"', re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))) <= names
    assert "prefers-color-scheme: dark" in page


def test_the_numbers_of_the_page_are_those_of_the_roll_up(journal, report, page):
    rollup = roll_up([journal])

    assert report.rollup.total.money == rollup.total.money
    assert report.rollup.total.orders == rollup.total.orders
    plain = page.replace("\N{MINUS SIGN}", "-")
    for part in ("before_costs", "spread", "delay", "impact", "gross", "commission", "swap", "conversion_fee", "net"):
        value = getattr(rollup.total.money, part) / 100
        assert re.search(rf'<td class="n">{re.escape(f"{value:+,.2f}" if value else "0.00")}</td>', plain), part
    assert rollup.total.money.ties_out
    assert "The parts add up exactly." in page
    assert f"{rollup.total.orders.sent:,} orders sent, {rollup.total.orders.rejected} rejected" in page
    for row in rollup.total.missed:
        name = row.key.replace("_", " ").lower()
        assert f'{name}</th><td class="dim">{row.kind}</td><td class="n">{row.n}<' in page, row.key
    for day in rollup.days:
        assert f'<th scope="row">{day.key}</th>' in page


def test_trades_are_those_of_the_runs_own_report(journal, report):
    own = {trade.position_id: trade for trade in fold(journal).trades}

    assert {trade.position_id for trade in report.rollup.trades} == own.keys()
    for trade in report.rollup.trades:
        assert (trade.holding_bars, trade.money) == (own[trade.position_id].holding_bars, own[trade.position_id].money)
    assert any(trade.holding_bars for trade in report.rollup.trades)


def test_json_is_the_roll_up_and_csv_tables_add_up_to_it(report, tmp_path):
    files = write(report, tmp_path, ("html", "json", "csv"))
    told = json.loads(files["json"][0].read_bytes())

    assert told["schema"] == period.SCHEMA
    assert msgspec.json.decode(msgspec.json.encode(told["rollup"]), type=Rollup) == report.rollup
    tables = {path.stem: list(csv.DictReader(io.StringIO(path.read_text()))) for path in files["csv"]}
    for kind in ("day", "week", "month", "strategy", "symbol", "model"):
        rows = [row for row in tables["periods"] if row["kind"] == kind]
        for part in ("before_costs", "spread", "slippage", "delay", "impact", "commission", "swap", "net"):
            assert sum(Decimal(row[part]) for row in rows) * 100 == getattr(report.rollup.total.money, part), kind
    assert len(tables["executions"]) == len(report.rollup.executions)
    assert len(tables["missed"]) == sum(row.n for row in report.rollup.total.missed)
    assert [row["rule"] for row in tables["findings"]] == [point.rule for point in report.points]


def test_the_same_journal_gives_the_same_bytes(journal, page, report):
    again = report_of(journal)

    assert render(again) == page
    assert as_json(again) == as_json(report)


def test_a_day_of_the_journal_is_narrowed_to_that_day_and_days_add_up_to_the_month(journal, report):
    days = [report_of(journal, "daily", row.key) for row in report.rollup.days]

    assert sum(day.rollup.total.money.net for day in days) == report.rollup.total.money.net
    assert sum(day.rollup.total.orders.sent for day in days) == report.rollup.total.orders.sent
    assert sum(len(day.rollup.trades) for day in days) == len(report.rollup.trades)
    for day, row in zip(days, report.rollup.days, strict=True):
        assert [each.key for each in day.rollup.days] == [row.key]
        assert day.rollup.total.money == row.money
        for owners in (day.rollup.strategies, day.rollup.symbols, day.rollup.models):
            assert sum(owner.money.net for owner in owners) == row.money.net
        assert all(day.ts_from_ns <= bar.ts_close_ns < day.ts_to_ns for bars in day.scene.bars.values() for bar in bars)
    weeks = {row.key: report_of(journal, "weekly", row.key).rollup.total.money.net for row in report.rollup.weeks}
    assert weeks == {row.key: row.money.net for row in report.rollup.weeks}


def test_the_calendar_shows_what_the_days_of_the_roll_up_booked(report):
    booked = {row.key: row.money.net for row in report.rollup.days if row.trades}

    assert {_date(day): value for day, value in report.scene.results.items()} == booked


def _date(ordinal):
    return date.fromordinal(ordinal).isoformat()


def test_every_plot_is_told_in_words_and_is_there(page):
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)

    assert len(labels) == page.count("<figcaption>") == page.count("<figure")
    assert all(len(label) > 30 for label in labels)
    for words in (
        "Equity, USD", "Net result of each trading day", "Slippage of each order", "Where the money went, USD", "ahead",
        "Reliability", "PIT", f"EURUSD, {EXCERPT_BARS} bars", "Delays: median",
    ):  # fmt: skip
        assert words in page


def test_what_a_journal_says_is_escaped_everywhere(journal):
    evil = '<script>alert("x")</script>'

    def spoilt(message):
        names = getattr(message, "__struct_fields__", ())
        wanted = {name: evil for name in ("strategy", "model_id", "reason", "code", "rule", "text") if name in names}
        return msgspec.structs.replace(message, **wanted) if wanted else message

    report = report_of([(seq, spoilt(message)) for seq, message in journal[:2000]])
    page = render(report)
    trade = report.rollup.trades[0]
    alone = msgspec.structs.replace(report, kind="trade", trade=trade, messages=tuple(m for _, m in journal[:50]))
    for text in (page, render(alone)):
        assert "<script" not in text.lower()
        assert "&lt;script&gt;" in text


def test_a_day_with_prices_and_without_trades_is_a_sensible_page():
    month = Month(signals=40, trades=0)
    report = report_of(month.journal())
    page = render(report)

    well_formed(page)
    assert report.rollup.total.trades == 0
    assert "No trade was open in this time." in page
    assert "no day has a result" in page
    assert "Every wish to enter was traded" not in page


def test_everything_was_kept_is_said_only_where_nothing_was_found(report):
    assert headline(()) == ("Everything was kept", "kept")
    assert headline(report.points)[0] != "Everything was kept"
    info = tuple(point for point in report.points if point.severity == "info")
    assert info
    assert headline(info)[0] == "Everything was kept"


def test_a_wide_spread_is_one_episode_with_its_peak_until_it_was_narrow_for_five_minutes():
    timeline, ledger = Timeline(), Roll()
    ledger.add(1, synthetic_run(1)[0][1])
    second_ns = 10**9
    spreads = [8] * 30 + [24, 60, 30, 8, 8, 40] + [8] * 400 + [24]
    for number, spread in enumerate(spreads):
        quote = m.Quote(symbol="EURUSD", bid_e5=120_000, ask_e5=120_000 + spread, ts_event_ns=number * second_ns,
                        ts_init_ns=number * second_ns)  # fmt: skip
        timeline.add(quote, ledger.ledger)
    first, second = timeline.scene().wide

    assert (first.ts_from_ns, first.ts_to_ns) == (30 * second_ns, 35 * second_ns)
    assert (first.widest_e5, first.widest_ns, first.quotes, first.usual_e5) == (60, 31 * second_ns, 4, 8.0)
    assert (second.ts_from_ns, second.quotes) == (436 * second_ns, 1)


# --- which time --------------------------------------------------------------------------------------------------


def test_a_trading_day_across_the_change_of_clocks_has_23_or_25_hours_and_says_so():
    spring, autumn = (span_of("daily", day, 0) for day in ("2018-03-11", "2018-11-04"))

    assert (spring.to_ns - spring.from_ns) / 3600e9 == 23
    assert (autumn.to_ns - autumn.from_ns) / 3600e9 == 25
    assert spoken_span(spring.from_ns, spring.to_ns) == (
        "2018-03-10 22:00 to 2018-03-11 21:00 UTC "
        "(New York Sat 17:00 UTC\N{MINUS SIGN}5 to Sun 17:00 UTC\N{MINUS SIGN}4)"
    )
    assert "UTC\N{MINUS SIGN}4 to Sun 17:00 UTC\N{MINUS SIGN}5" in spoken_span(autumn.from_ns, autumn.to_ns)


def test_a_week_is_named_by_a_date_in_it_or_by_its_number_and_a_month_likewise():
    week = span_of("weekly", "2018-05-02", 0)
    assert week == span_of("weekly", "2018-W18", 0)
    assert (week.key, (week.to_ns - week.from_ns) / 86_400e9) == ("2018-W18", 7)
    month = span_of("monthly", "2018-03", 0)
    assert month == span_of("monthly", "2018-03-31", 0)
    assert (month.to_ns - month.from_ns) / 3600e9 == 31 * 24 - 1, "March is an hour short"


def test_last_is_the_newest_that_has_ended():
    wednesday = span_of("daily", "2018-05-02", 0)

    assert span_of("daily", "last", wednesday.to_ns) == wednesday
    assert span_of("daily", "last", wednesday.to_ns - 1).key == "2018-05-01"
    assert span_of("weekly", "last", wednesday.to_ns).key == "2018-W17"
    assert span_of("monthly", "last", wednesday.to_ns).key == "2018-04"
    assert span_of("daily", None, wednesday.from_ns).key == "2018-05-02"


@pytest.mark.parametrize(("kind", "wanted"), [("daily", "2018-W18"), ("weekly", "2018-05"), ("monthly", "May")])
def test_what_is_no_date_is_refused_with_what_to_write(kind, wanted):
    with pytest.raises(ConfigError, match="write one as 2018-05-01"):
        span_of(kind, wanted, 0)


def test_a_time_of_which_the_journals_have_nothing_is_refused_with_what_they_have(journal):
    nowhere = Span(kind="daily", key="2030-01-02", from_ns=1_893_500_000 * 10**9, to_ns=1_893_586_400 * 10**9)
    with pytest.raises(ConfigError, match="nothing of 2030-01-02; they hold 2018-05-01 to"):
        gathered(journal).of(nowhere)


# --- the command, the planted faults -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    truth = faulty_day.record(state / "runs" / "0001" / "journal")
    return state, truth


def invoke(*arguments):
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def said(recorded, tmp_path_factory):
    out = tmp_path_factory.mktemp("daily")
    return json.loads(invoke("report", "daily", "--state", recorded[0], "--out", out, "--html", "--csv", "--json"))


def test_each_planted_fault_is_among_the_first_findings_with_its_time_and_its_figure(recorded, said):
    _, truth = recorded
    first = {point["rule"]: point for point in said["findings"][: len(faulty_day.PLANTED)]}

    assert first.keys() == faulty_day.PLANTED.keys(), "they come before everything else"
    for rule, (from_ns, to_ns) in faulty_day.PLANTED.items():
        assert from_ns <= first[rule]["ts_ns"] < to_ns, rule
    assert first["filled_late"]["value"] == "4.0 s"
    assert first["orders_rejected"]["value"] == f"{len(truth.rejected)} rejected"
    assert faulty_day.CODE in first["orders_rejected"]["subject"]
    assert first["spread_widened"]["value"] == f"{faulty_day.WIDE_E5 / 10:.1f} pips"
    assert first["spread_widened"]["ts_ns"] == faulty_day.WIDE[0]
    assert first["stop_loss_missed"]["ts_ns"] == truth.reached_ns
    assert truth.slept in first["stop_loss_missed"]["subject"]
    assert first["stop_loss_missed"]["severity"] == "critical"


def test_a_reader_sees_each_planted_fault_before_anything_else_on_the_page(said):
    page = Path(said["files"]["html"][0]).read_text()
    names = well_formed(page)
    found = page[page.index('id="findings"') : page.index('class="tiles')]

    assert page.index('id="findings"') < page.index('class="tiles') < page.index('id="equity"')
    for point in said["findings"][: len(faulty_day.PLANTED)]:
        assert point["anchor"] in names
        assert point["value"] in found
        assert second(point["ts_ns"]) in found
    assert said["answer"] == "1 thing went wrong, 3 more to look at"
    assert "state" not in said["answer"]


def test_patterns_unusual_bars_and_regimes_are_on_the_page_and_in_the_plot(said):
    page = Path(said["files"]["html"][0]).read_text()

    assert "Unusual bars" in page
    assert "double top" in page
    assert re.search(r"<h3>Regimes</h3>.*states-1.*2 of 0 to 2 \(wildest\)", page, flags=re.DOTALL)
    plot = re.search(r"EURUSD, 160 bars.*?</svg>", page, flags=re.DOTALL)
    assert plot
    assert "unusual bar" in plot[0]


def test_the_same_day_without_faults_has_none_of_these_findings(tmp_path):
    faulty_day.record(tmp_path / "runs" / "0001" / "journal", faults=False)
    found = json.loads(invoke("report", "daily", "--state", tmp_path, "--json"))

    assert not {point["rule"] for point in found["findings"]} & faulty_day.PLANTED.keys()
    assert found["answer"] == "Everything was kept"


def test_everything_about_one_trade_is_on_one_page(recorded, said, tmp_path):
    state, truth = recorded
    told = json.loads(invoke("report", "trade", truth.slept, "--state", state, "--out", tmp_path, "--json", "--html"))
    page = Path(told["files"]["html"][0]).read_text()

    well_formed(page)
    assert [point["rule"] for point in told["findings"]] == ["stop_loss_missed"]
    for words in ("Where the money went", "The parts add up exactly.", "EURUSD around the trade", "SubmitOrder",
                  "OrderFilled", "Intent", "Stop loss at"):  # fmt: skip
        assert words in page
    steps = re.findall(r'<th scope="row">([\d-]+ [\d:.]+)</th><td>(\w+)</td>', page[page.index('id="steps"') :])
    assert [moment for moment, _ in steps] == sorted(moment for moment, _ in steps)
    assert sum(name == "OrderFilled" for _, name in steps) >= 2, "entry and exit"


def test_a_trade_is_found_by_each_of_its_names_and_one_that_is_unknown_with_a_suggestion(report):
    trade = report.rollup.trades[2]
    for name in (str(trade.number), trade.position_id, trade.client_order_id):
        assert trade_of(report.rollup, name) is trade
    with pytest.raises(ConfigError, match=f"did you mean .*{trade.position_id}"):
        trade_of(report.rollup, trade.position_id + "x")
    with pytest.raises(ConfigError, match="the newest are"):
        trade_of(report.rollup, "nothing like it at all")
    with pytest.raises(ConfigError, match="made none"):
        trade_of(msgspec.structs.replace(report.rollup, trades=()), "1")


def test_without_a_run_and_without_a_browser_the_command_says_what_to_do(tmp_path, monkeypatch, recorded):
    with pytest.raises(ConfigError, match="start one with `plimsoll paper`"):
        invoke("report", "daily", "--state", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no browser for the PDF: install chromium"):
        invoke("report", "daily", "--pdf", "--state", recorded[0])


def test_the_runs_report_is_still_there_with_and_without_a_name(recorded, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["1"], ["run", "0001"]):
        told = json.loads(invoke("report", *arguments, "--state", recorded[0], "--json"))
        assert told["report"].endswith("runs/0001/report/report.html")
    page = Path(told["report"]).read_text()
    assert "Unusual bars" in page
    assert "state 2 of 0 to 2" in page


def test_what_parity_wrote_is_in_the_report_and_a_spoilt_file_is_named(recorded, tmp_path):
    state = tmp_path / "state"
    shutil.copytree(recorded[0], state)
    invoke("parity", "--state", state, "--day", "2018-05-01", "--write")
    told = json.loads(invoke("report", "daily", "--state", state, "--json", "--html"))

    assert any(point["rule"].startswith("parity_") for point in told["findings"])
    assert "Parity of 2018-05-01" in Path(told["files"]["html"][0]).read_text()
    (state / "runs" / "0001" / "parity" / "run.json").write_text("{}")
    with pytest.raises(DataError, match="run.json: no result of `plimsoll parity`"):
        invoke("report", "daily", "--state", state)


def test_journals_of_one_account_are_told_together_and_paper_runs_alone(tmp_path):
    for number, start in ((1, 0), (2, 40 * 24 * 3600 * 10**9)):
        month = Month(signals=60, trades=6, seed=number, run_id=f"m{number}")
        month.start_ns += start
        folder = Journal(tmp_path / "runs" / f"{number:04d}" / "journal")
        for message in month.messages():
            folder.append(INPUT, message)
        folder.close()
    told = json.loads(invoke("report", "monthly", "--date", "2018-05", "--state", tmp_path, "--json"))
    assert told["runs"] == ["0001", "0002"]
    alone = json.loads(invoke("report", "monthly", "--date", "2018-06", "--run", "2", "--state", tmp_path, "--json"))
    assert alone["runs"] == ["0002"]


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_shows_the_page_without_complaint(said, tmp_path):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--disable-dev-shm-usage", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
               "--dump-dom", f"file://{said['files']['html'][0]}"]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)

    assert "CONSOLE" not in shown.stderr
    assert said["answer"] in shown.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_the_pdf_has_pages_and_leaves_nothing_else_behind(recorded, tmp_path):
    told = json.loads(invoke("report", "daily", "--state", recorded[0], "--out", tmp_path, "--pdf", "--json"))
    data = (tmp_path / "report.pdf").read_bytes()

    assert told["files"]["pdf"] == [str(tmp_path / "report.pdf")]
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) > 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.pdf"]


def test_a_browser_that_prints_nothing_is_told(tmp_path):
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho sorry >&2\n")
    fake.chmod(0o755)
    page = tmp_path / "page.html"
    page.write_text("<p>")
    with pytest.raises(DataError, match="printed nothing .sorry."):
        printed.print_pdf(page, tmp_path / "out.pdf", str(fake))
    assert not (tmp_path / "out.pdf").exists()


def test_halts_and_differences_with_the_venue_are_dated_and_critical(journal):
    last = max(message.ts_init_ns for _, message in journal if hasattr(message, "ts_init_ns"))
    more = [
        (0, m.HaltLatched(level=m.HaltLevel.FLATTEN, rule="daily_loss", limit="3 %", value="3.2 %", reason="",
                          ts_init_ns=last - 5)),
        (0, m.ReconcileFound(kind="position", subject="P9", ours="1", theirs="2", ts_init_ns=last - 4)),
    ]  # fmt: skip
    found = {point.rule: point for point in report_of([*journal, *more]).points}

    assert (found["halt_daily_loss"].severity, found["halt_daily_loss"].ts_ns) == ("critical", last - 5)
    assert (found["reconcile_position"].value, found["reconcile_position"].limit) == ("1", "2")
