"""Commands that look back: replay, store, journal."""

import click
from rich.console import Console

from daemon import journal as journals
from daemon.commands.common import EXIT_FAILED, Settings, emit, journal_of, run_of, with_settings
from daemon.config import store_url
from daemon.replay import describe, replay


@click.command("replay")
@click.argument("journal", required=False)
@with_settings
def replay_command(settings: Settings, journal: str | None) -> int:
    """Run a journal's inputs through a fresh core and compare every answer.

    JOURNAL is a journal's folder, a run's folder or a run's number; by default the last run. Needs no models and no
    data: all that the core knew is in the journal. Ends with 1 and shows the first difference, both sides, where the
    answers are not the recorded ones.
    """
    folder = journal_of(settings.open_state(), journal)
    result = replay(folder)
    if settings.as_json:
        emit(result)
        return 0 if result.identical else EXIT_FAILED
    console = Console()
    if result.identical:
        console.print(f"identical: {result.inputs:,} inputs gave the same {result.outputs:,} answers again")
        console.print(f"decisions sha256 {result.decisions_sha256}", soft_wrap=True, highlight=False)
        return 0
    if not result.chain.intact:
        console.print(f"[red]the journal was altered[/]: {result.chain.reason} (record {result.chain.broken_at})")
    if result.difference is not None:
        console.print(
            f"[red]first difference[/] at record {result.difference.seq}, from input {result.difference.cause_seq}"
        )
        console.print("recorded:", result.difference.recorded)
        console.print("replayed:", result.difference.replayed)
    return EXIT_FAILED


@click.group("store")
def store_group() -> None:
    """The database: a projection of the journals that can be dropped and rebuilt."""


@store_group.command("rebuild")
@click.argument("run", required=False)
@with_settings
def store_rebuild(settings: Settings, run: str | None) -> int:
    """Write a run into the database anew, from its journal.

    RUN is a run's number or folder; by default all runs in the state directory. Other runs stay as they are.
    """
    from adapters.store.store import Store

    where = settings.open_state()
    chosen = [run_of(where, run)] if run else [each for each in where.runs() if each.journal.is_dir()]
    written = 0
    with Store.open(store_url(settings.load())) as store:
        for each in chosen:
            written += store.rebuild((record.seq, record.message) for record in journals.read(each.journal))
        url = store.url
    if settings.as_json:
        emit({"runs": [each.name for each in chosen], "records": written, "store": url})
    else:
        click.echo(f"{len(chosen)} runs, {written:,} records written to {url}")
    return 0


@click.group("journal")
def journal_group() -> None:
    """Look into journals and check their hash chain."""


@journal_group.command("verify")
@click.argument("journal", required=False)
@with_settings
def journal_verify(settings: Settings, journal: str | None) -> int:
    """Check every byte of a journal against its hash chain; ends with 1 where one was altered."""
    verdict = journals.verify(journal_of(settings.open_state(), journal))
    if settings.as_json:
        emit(verdict)
    elif verdict.intact:
        torn = f"; {verdict.torn_bytes} bytes of a write cut short at the end" if verdict.torn_bytes else ""
        click.echo(f"intact: {verdict.records:,} records, digest {verdict.digest}{torn}")
    else:
        click.echo(f"ALTERED: {verdict.reason} ({verdict.segment}, record {verdict.broken_at})")
    return 0 if verdict.intact else EXIT_FAILED


@journal_group.command("show")
@click.argument("journal", required=False)
@click.option("--from", "first", type=int, default=1, show_default=True, help="First record.")
@click.option("--count", type=int, default=20, show_default=True, help="How many records.")
@click.option("--type", "only", metavar="NAME", help="Only messages of this type, for instance OrderFilled.")
@with_settings
def journal_show(settings: Settings, journal: str | None, first: int, count: int, only: str | None) -> int:
    """Print records as JSON lines: sequence number, in or out, message."""
    shown = 0
    for record in journals.read(journal_of(settings.open_state(), journal)):
        if record.seq < first or (only is not None and type(record.message).__name__ != only):
            continue
        direction = "in" if record.kind == journals.INPUT else "out"
        emit({"seq": record.seq, "direction": direction, **(describe(record.message) or {})})
        shown += 1
        if shown >= count:
            break
    return 0
