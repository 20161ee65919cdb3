"""Commands that prove a day: audit (does the money add up, three ways) and parity (was it what should have been)."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from daemon.audit import Audit, audit
from daemon.commands.common import EXIT_FAILED, Settings, emit, run_of, with_settings
from daemon.config import store_url
from daemon.journal import read, verify
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
