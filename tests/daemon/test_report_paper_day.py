"""Adherence against the real core and exchange: two derivations of one day, by different code."""

import pytest

from bus import messages as m
from bus.calendar import trading_day
from daemon.core import Core, CoreSettings, StrategySettings
from daemon.journal import INPUT, read
from daemon.report import ReportContext, write_report
from risk.adherence import Adherence
from tests.harness.paper import Day, synthetic_quotes


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day") / "journal"
    settings = CoreSettings(strategies=(StrategySettings(name="interval"),))
    return list(read(Day(folder, synthetic_quotes(1600), settings=settings).run().folder))


def test_equity_equals_the_books_after_every_message(records):
    core, adherence, compared = Core(), Adherence(), 0
    for record in records:
        adherence.add(record.seq, record.message)
        if record.kind == INPUT:
            core.process(record.seq, record.message)
            if core.now_ns and core.book.balance is not None and core.book.positions:
                compared += 1
                assert adherence.equity == core.book.equity, record.seq

    assert compared > 100
    assert adherence.summary().equity_end == core.book.equity


def test_the_days_own_deals_and_the_summary_agree(records):
    adherence = Adherence()
    for record in records:
        adherence.add(record.seq, record.message)
    summary = adherence.summary()
    deals = {r.message.deal_id: r.message for r in records if isinstance(r.message, m.OrderFilled)}.values()
    closing = [deal for deal in deals if deal.closing]

    assert summary.counts.trades > 5
    assert summary.conservation.exact
    assert summary.conservation.flat
    assert [f for f in summary.findings if f.severity == "critical"] == []
    assert summary.total.gross == sum(deal.gross_profit for deal in closing)
    assert len(summary.days) == len({trading_day(deal.ts_event_ns) for deal in closing})
    assert all(trade.protect_ns is not None and trade.fill_ns > 0 for trade in summary.trades)


def test_a_real_day_makes_a_report(records, tmp_path):
    adherence = Adherence()
    for record in records:
        adherence.add(record.seq, record.message)
    context = ReportContext(title="A day", mode="paper", symbols=("EURUSD",), data="synthetic", journal="journal",
                            decisions_sha256="0" * 64, started="", ended="")  # fmt: skip

    page = write_report(tmp_path, adherence, context).html.read_text()

    assert page.count('role="img"') >= 5
    assert "No edge after costs" in page
