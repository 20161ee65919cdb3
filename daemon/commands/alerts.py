"""`plimsoll alerts`: what there is to be told of, what was told, whether it arrives, and what did not."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from random import Random

import click
from rich.console import Console
from rich.table import Table

from adapters.notify import open_channels
from adapters.notify.contract import Channel, Notice, Place
from adapters.notify.deadletters import DeadLetter, DeadLetters
from adapters.notify.outbox import Retry, deliver
from bus.calendar import to_datetime
from bus.messages import AlertCleared, AlertRaised
from daemon import journal as journals
from daemon.alerting import channel_settings, dead_letters
from daemon.commands.common import EXIT_FAILED, Settings, emit, journal_of, with_settings
from daemon.config import Config
from daemon.replay import describe
from daemon.state import State
from risk.alerts import RULES, Alerts

_ONE = Retry(attempts=1)
_AGAIN = Retry(attempts=3)


@click.group("alerts")
def alerts_group() -> None:
    """Alerts: what was told in a run, and whether it reaches you."""


@alerts_group.command("rules")
@with_settings
def alerts_rules(settings: Settings) -> int:
    """List every rule: what it tells of, how bad that is, what to do. Its name silences it in `alerts.off`."""
    off = settings.load().alerts.off
    if settings.as_json:
        rows = [
            {"rule": each.name, "severity": each.severity, "why": each.why, "advice": each.advice,
             "on": each.name not in off}
            for each in RULES
        ]  # fmt: skip
        emit({"rules": rows})
        return 0
    table = Table("rule", "severity", "tells that", "to do", box=None, pad_edge=False)
    for each in RULES:
        table.add_row(each.name, "off" if each.name in off else each.severity, each.why, each.advice)
    Console().print(table)
    return 0


@alerts_group.command("list")
@click.argument("run", required=False)
@click.option("--open", "only_open", is_flag=True, help="Only what is still raised at the end.")
@with_settings
def alerts_list(settings: Settings, run: str | None, *, only_open: bool) -> int:
    """List a run's alerts, from its journal and the bounds that are set now.

    RUN is a run's number, a run's folder or a journal's folder; by default the last run. What only the running process
    could see (disk, clock steps, a failing journal) is not in a journal; it is in the run's alerts.jsonl.
    """
    fold = Alerts(settings.load().alerts.bounds)
    said: list[tuple[int, AlertRaised | AlertCleared]] = []
    for record in journals.read(journal_of(settings.open_state(), run)):
        said.extend((record.seq, each) for each in fold.on(record.message))
    if only_open:
        said = [(seq, each) for seq, each in said if fold.open.get((each.rule, each.subject)) is each]
    if settings.as_json:
        emit({"alerts": [{"seq": seq, **(describe(each) or {})} for seq, each in said], "open": len(fold.open)})
        return 0
    for seq, each in said:
        over = isinstance(each, AlertCleared)
        when = f"{to_datetime(each.ts_init_ns):%Y-%m-%d %H:%M:%S}"
        what = "over" if over else each.severity
        click.echo(f"{when}  {seq:>9}  {what:<8}  {each.rule} {each.subject}: {each.value} (limit {each.limit})")
    click.echo(f"{sum(isinstance(each, AlertRaised) for _, each in said)} raised, {len(fold.open)} still open")
    return 0


@alerts_group.command("test")
@with_settings
def alerts_test(settings: Settings) -> int:
    """Send a test through every channel that is on; says of each whether it arrived. Ends with 1 where one did not."""
    config, state = settings.load(), settings.open_state()
    channels = _channels(config, state)
    if not channels:
        click.echo("no channel is on; set for instance alerts.log.enabled = true", err=True)
        return EXIT_FAILED
    notice = Notice(
        id=secrets.token_hex(12),
        event="test",
        rule="test",
        subject="plimsoll",
        severity="info",
        value="somebody asked for a test",
        limit="none",
        advice="nothing: it arrived",
        run="none",
        mode="test",
        ts_ns=time.time_ns(),
    )
    results = asyncio.run(_send_all(channels, notice))
    if settings.as_json:
        emit({"channels": {name: {"ok": not reason, "reason": reason} for name, reason in results.items()}})
    else:
        for name, reason in results.items():
            click.echo(f"{name:<10} {f'FAILED: {reason}' if reason else 'arrived'}")
    return EXIT_FAILED if any(results.values()) else 0


async def _send_all(channels: Mapping[str, Channel], notice: Notice) -> dict[str, str]:
    """Why it did not arrive, by channel; empty = it did."""
    sending = (deliver(each, notice, _ONE, Random(), asyncio.sleep) for each in channels.values())
    outcomes = await asyncio.gather(*sending)
    return {name: reason for name, (_, reason) in zip(channels, outcomes, strict=True)}


@alerts_group.command("resend")
@with_settings
def alerts_resend(settings: Settings) -> int:
    """Send again what could not be delivered, each to the channel that it was for; what fails again is kept.

    Works beside a running process. A receiver knows a notice by its id, which is the one that it had.
    """
    config, state = settings.load(), settings.open_state()
    kept = dead_letters(state)
    letters, damaged = kept.take()
    sent, failed = asyncio.run(_resend(kept, letters, _channels(config, state)))
    kept.done()
    if settings.as_json:
        emit({"sent": sent, "failed": failed, "damaged": damaged})
    else:
        note = f"; {damaged} lines could not be read and are gone" if damaged else ""
        click.echo(f"{sent} sent, {len(failed)} kept for another time{note}")
        for reason in dict.fromkeys(failed):
            click.echo(f"  {reason}")
    return EXIT_FAILED if failed else 0


async def _resend(
    kept: DeadLetters, letters: list[DeadLetter], channels: Mapping[str, Channel]
) -> tuple[int, list[str]]:
    """How many arrived, and why the others did not; those are kept."""
    sent, failed = 0, list[str]()
    gone: dict[str, str] = {}
    for letter in letters:
        channel = channels.get(letter.channel)
        attempts, reason = 0, gone.get(letter.channel, "")
        if channel is None:
            reason = "that channel is not on"
        elif not reason:
            attempts, reason = await deliver(channel, letter.notice, _AGAIN, Random(), asyncio.sleep)
        if not reason:
            sent += 1
            continue
        gone[letter.channel] = reason  # one that does not answer is not asked for every letter
        failed.append(f"{letter.channel}: {reason}")
        attempts += letter.attempts
        kept.add(
            DeadLetter(
                channel=letter.channel,
                reason=reason,
                attempts=attempts,
                gave_up_ns=time.time_ns(),
                notice=letter.notice,
            )
        )
    return sent, failed


def _channels(config: Config, state: State) -> dict[str, Channel]:
    state.create()
    place = Place(folder=state.folder, note=lambda line: click.echo(line, err=True))
    return {name: channel for name, (channel, _) in open_channels(channel_settings(config.alerts), place).items()}
