"""Commands that prove a day: audit (does the money add up, three ways) and parity (was it what should have been)."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bus.calendar import to_datetime
from daemon.audit import Audit, audit
from daemon.commands.common import EXIT_FAILED, Settings, emit, run_of, with_settings
from daemon.config import store_url
from daemon.journal import read, verify
from daemon.nightly import bounds_of, check_day, name_of, other_answers, write_result
from daemon.parity import Parity
from daemon.state import Run

STORED = ("runs", "positions", "deals", "trades")


@click.command("audit")
@click.argument("run", required=False)
@with_settings
def audit_command(settings: Settings, run: str | None) -> int:
    """Add up positions and money of a run once more, and compare with core, database and broker.

    RUN is a run's number or folder; by default the last run. Ends with 1 where anything differs and prints every
    difference with both figures. The database is left out where the configuration keeps none.
    """
    chosen = run_of(settings.open_state(), run)
    chain = verify(chosen.journal)
    found = audit(read(chosen.journal), _stored(settings, chosen))
    if settings.as_json:
        emit({"run": chosen.name, "chain": chain, "audit": found})
    else:
        _print_audit(chosen.name, found, Console())
        if not chain.intact:
            click.echo(f"the journal was altered: {chain.reason} ({chain.segment}, record {chain.broken_at})")
    return 0 if found.agrees and chain.intact else EXIT_FAILED


def _stored(settings: Settings, run: Run) -> Mapping[str, Sequence[Mapping[str, Any]]] | None:
    """The run's rows, with the database brought up to the journal's end first: a projection may lag, not differ."""
    from adapters.store.store import Store
    from bus.messages import RunStarted

    config = settings.load()
    if not config.store.enabled:
        return None
    started = next((record.message for record in read(run.journal) if isinstance(record.message, RunStarted)), None)
    if started is None:
        return {}
    with Store.open(store_url(config)) as store:
        store.apply((record.seq, record.message) for record in read(run.journal))
        return {table: store.rows(table, started.run_id) for table in STORED}


def _print_audit(name: str, found: Audit, console: Console) -> None:
    totals = found.totals
    console.print(
        f"run {name}: {totals.deals} deals, realised {totals.realised}, moved otherwise {totals.moved}, balance "
        f"{totals.balance}, {totals.open_positions} positions open (money in the account's smallest unit)"
    )
    compared = f"journal against {', '.join(found.compared)}; {found.snapshots} account snapshots"
    if found.agrees:
        console.print(f"[green]agrees[/]: {compared}")
        return
    console.print(f"[red]{len(found.differences) + found.more} differences[/]: {compared}")
    table = Table("record", "against", "what", "of", "journal", "theirs", box=None, header_style="dim")
    for each in found.differences:
        place = str(each.seq) if each.seq else "end"
        table.add_row(place, each.against, each.what, each.subject, each.journal, each.theirs)
    console.print(table)
    if found.more:
        console.print(f"and {found.more} more")


@click.command("parity")
@click.argument("run", required=False)
@click.option(
    "--day", metavar="DATE", help="One trading day by the date on which it ends, or last.  [default: the whole run]"
)
@click.option("--ask", is_flag=True, help="Ask the run's models again, and take their answers where they are others.")
@click.option("--write", is_flag=True, help="Write the result beside the run's journal as well.")
@with_settings
def parity_command(settings: Settings, run: str | None, day: str | None, ask: bool, write: bool) -> int:  # noqa: FBT001
    """Run a day again as it should have been, and list every difference with its kind and its money.

    RUN is a run's number or folder; by default the last run. The journal's prices and forecasts go through a fresh core
    against a simulated exchange that executes at once. Kinds: latency, price, rejection, operator, model, unknown.
    """
    state = settings.open_state()
    chosen = run_of(state, run)
    bounds = bounds_of(day, time.time_ns()) if day is not None else None
    records = list(read(chosen.journal))
    answers = None
    if ask:
        trust = settings.load().models.trust
        answers = other_answers(records, bounds, state, trust, lambda line: click.echo(line, err=True))
    found = check_day(records, bounds, answers)
    path = write_result(chosen, name_of(bounds[0]) if bounds else "run", found) if write else None
    if settings.as_json:
        emit({"run": chosen.name, "parity": found, "file": str(path or "")})
    else:
        _print_parity(chosen.name, found, Console())
    return 0


def _print_parity(name: str, found: Parity, console: Console) -> None:
    unit = 10**found.money_digits
    console.print(
        f"run {name}, {to_datetime(found.ts_from_ns):%Y-%m-%d %H:%M} to {to_datetime(found.ts_to_ns):%Y-%m-%d %H:%M} "
        f"UTC: {found.entries} wishes to enter; happened {found.net_happened / unit:+,.2f}, should have "
        f"{found.net_should / unit:+,.2f} {found.currency}; {found.delayed} deals later at the same price"
    )
    if found.agrees:
        console.print("[green]no difference[/]")
        return
    kinds = Table("kind", "n", "money", box=None, header_style="dim")
    for row in found.by_kind:
        if row.n:
            kinds.add_row(row.kind, str(row.n), f"{row.money / unit:+,.2f}")
    console.print(kinds)
    table = Table("", "kind", "what", "time", "symbol", "happened", "should", "money", box=None, header_style="dim")
    for each in found.differences:
        after = f", after {each.follows}" if each.follows else ""
        table.add_row(
            str(each.number),
            f"{each.kind}{after}",
            each.what,
            f"{to_datetime(each.ts_ns):%m-%d %H:%M:%S}",
            each.symbol,
            each.happened,
            each.should,
            f"{each.money / unit:+,.2f}",
        )
    console.print(table)
