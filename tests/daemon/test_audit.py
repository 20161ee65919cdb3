"""The audit finds every planted difference, and none where there is none."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from adapters.store.store import Store
from bus import messages as m
from daemon.audit import audit
from daemon.cli import cli
from daemon.commands.proof import STORED
from daemon.journal import INPUT, OUTPUT, Journal, Record, read
from tests.harness.paper import Day, synthetic_quotes


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A paper day with trades, as records."""
    folder = tmp_path_factory.mktemp("audited") / "journal"
    Day(folder, synthetic_quotes(1_000)).run()
    records = list(read(folder))
    assert sum(isinstance(each.message, m.OrderFilled) for each in records) > 10
    return records


@pytest.fixture
def stored(day):
    with Store.open("sqlite:///:memory:") as store:
        store.apply((record.seq, record.message) for record in day)
        return {table: [dict(row) for row in store.rows(table)] for table in STORED}


def changed(records, kind, which, **fields):
    """The records with one message of a kind altered."""
    place = [at for at, each in enumerate(records) if isinstance(each.message, kind)][which]
    record = records[place]
    altered = Record(record.seq, record.kind, msgspec.structs.replace(record.message, **fields))
    return [*records[:place], altered, *records[place + 1 :]]


def kinds(found):
    return {(each.against, each.what) for each in found.differences}


def test_a_clean_day_agrees_with_core_store_and_broker(day, stored):
    found = audit(day, stored)

    assert found.agrees, found.differences
    assert found.compared == ("book", "broker", "store")
    deals = {each.message.deal_id: each.message for each in day if isinstance(each.message, m.OrderFilled)}.values()
    assert found.totals.realised == sum(
        each.gross_profit + each.booked_commission + each.booked_swap + each.conversion_fee for each in deals
    )
    assert found.totals.deals == len(deals)


def test_without_a_store_the_other_two_are_compared(day):
    assert audit(day).compared == ("book", "broker")


def test_facts_told_twice_are_counted_once(day):
    doubled = []
    for record in day:
        doubled.append(record)
        if isinstance(record.message, m.OrderFilled | m.SwapCharged):
            doubled.append(record)
    assert audit(doubled).totals == audit(day).totals
    assert audit(doubled).agrees


@pytest.mark.parametrize(
    ("table", "column", "what"),
    [("runs", "balance", "balance"), ("trades", "gross_profit", "gross_profit"), ("trades", "swap", "swap"),
     ("trades", "commission", "commission"), ("trades", "net_profit", "realised")],
)  # fmt: skip
def test_a_penny_more_in_the_store_is_found_with_both_figures(day, stored, table, column, what):
    right = audit(day, stored).totals
    stored[table][0][column] += 1

    (found,) = audit(day, stored).differences

    assert (found.against, found.what) == ("store", what)
    assert int(found.theirs) == int(found.journal) + 1
    assert int(found.journal) == getattr(right, what)


def test_a_deal_or_a_position_that_the_store_lacks_or_invents_is_found(day, stored):
    assert kinds(audit(day, stored | {"deals": stored["deals"][1:]})) == {("store", "deals")}
    ghost = stored["positions"][0] | {"position_id": "ghost", "volume_e2": 7, "closed_ns": None}
    (found,) = audit(day, stored | {"positions": [*stored["positions"], ghost]}).differences
    assert (found.what, found.subject, found.journal) == ("position", "ghost", "none")
    assert kinds(audit(day, {})) == {("store", "run")}


def snapshot_of(day, **fields):
    """What the broker says at the end, after which nothing happens."""
    opened = next(each.message for each in day if isinstance(each.message, m.AccountSnapshot))
    totals = audit(day).totals
    values = {"balance": totals.balance, "ts_event_ns": day[-1].message.ts_init_ns} | fields
    return Record(len(day) + 1, INPUT, msgspec.structs.replace(opened, **values))


def test_a_snapshot_that_agrees_is_counted_and_one_of_another_balance_is_found(day):
    assert audit([*day, snapshot_of(day)]).agrees
    assert audit([*day, snapshot_of(day)]).snapshots == 1
    found = audit([*day, snapshot_of(day, balance=5)])
    assert ("broker", "balance") in kinds(found)
    assert next(each.theirs for each in found.differences if each.what == "balance") == "5"


def test_a_position_that_the_broker_holds_and_the_journal_does_not_is_found(day):
    ghost = m.PositionState(position_id="77", symbol="EURUSD", side=m.Side.BUY, volume_e2=100_000, price_e5=120_000,
                            stop_loss_e5=0, take_profit_e5=0, commission=0, swap=0)  # fmt: skip
    found = audit([*day, snapshot_of(day, positions=(ghost,))])
    assert [(each.subject, each.journal, each.theirs) for each in found.differences] == [
        ("77", "none", "BUY 100000 EURUSD")
    ]


def test_a_difference_that_the_core_found_when_reconciling_is_told(day):
    said = m.ReconcileFound(kind="stop_loss", subject="P1", ours="1", theirs="2", ts_init_ns=day[-1].message.ts_init_ns)
    (found,) = audit([*day, Record(len(day) + 1, OUTPUT, said)]).differences
    assert (found.against, found.what, found.journal, found.theirs) == ("broker", "reconcile_stop_loss", "1", "2")


def test_a_balance_that_a_deal_told_wrongly_is_found_at_its_record(day):
    place = next(each.seq for each in day if isinstance(each.message, m.OrderFilled))
    deal = next(each.message for each in day if each.seq == place)
    found = audit(changed(day, m.OrderFilled, 0, balance=deal.balance - 3))
    assert [(each.what, each.seq) for each in found.differences] == [("balance_after_deal", place)]


def test_a_book_that_drops_a_deal_is_found(day, monkeypatch):
    """The core itself is wrong: it takes the deal's charge for nothing."""
    from risk.book import Book

    fold = Book.fold

    def forgetful(self, fact):
        if isinstance(fact, m.OrderFilled) and fact.closing:
            fact = msgspec.structs.replace(fact, booked_commission=0)
        return fold(self, fact)

    monkeypatch.setattr(Book, "fold", forgetful)
    assert ("book", "balance") in kinds(audit(day))


def test_a_journal_that_the_core_cannot_go_through_again_differs_from_the_book(day):
    closing = [each for each in day if isinstance(each.message, m.OrderFilled)]
    which = next(at for at, each in enumerate(closing) if each.message.closing)
    found = audit(changed(day, m.OrderFilled, which, position_id="nobody"))
    assert ("book", "replay") in kinds(found)
    assert ("broker", "closed_volume") in kinds(found)


def test_the_command_prints_every_difference_and_ends_with_1(day, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "state" / "runs" / "0001"
    for place, records in (("0001", day), ("0002", [*day, snapshot_of(day, balance=5)])):
        journal = Journal(run.parent / place / "journal")
        for record in records:
            journal.append(record.kind, record.message)
        journal.close()
    state = ["--state", str(tmp_path / "state")]

    good = CliRunner().invoke(cli, ["audit", "0001", *state])
    assert (good.exit_code, "agrees" in good.output) == (0, True)
    bad = CliRunner().invoke(cli, ["audit", *state, "--json"], standalone_mode=False)
    assert bad.return_value == 1
    said = json.loads(bad.output)
    assert said["audit"]["agrees"] is False
    assert {"broker"} <= {each["against"] for each in said["audit"]["differences"]}
