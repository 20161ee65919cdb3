"""`plimsoll data fetch`: the broker's bars and ticks into files, as far as they are complete."""

import difflib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bus.calendar import to_datetime, to_ns
from bus.errors import ConfigError
from bus.values import NS_PER_MS, NS_PER_S
from daemon.commands.broker import Broker, accounts_of, run, with_broker
from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.config import Config

if TYPE_CHECKING:
    from adapters.ctrader.download import Plan
    from adapters.ctrader.fetch import Line
    from adapters.history.spans import Span

_TICKS = "ticks"
_NEAR = 8
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_MOMENT = click.DateTime(_FORMATS)


class _Wish(NamedTuple):
    """What is to be fetched; `period` is the wire's number of a bar's length, None = ticks."""

    symbols: tuple[str, ...]
    granularity: str
    period: int | None
    span: "Span"
    folder: Path
    account_id: int | None
    patience_s: int


@click.group("data")
def data_group() -> None:
    """Market data: fetch."""


@data_group.command("fetch")
@click.option("--symbol", "symbols", multiple=True, required=True, metavar="PAIR", help="May be given several times.")
@click.option(
    "--granularity", metavar="M1…W1|ticks", default="H1", show_default=True,
    help="Length of the bars (M1 M2 M3 M4 M5 M10 M15 M30 H1 H4 H12 D1 W1), or every price.",
)  # fmt: skip
@click.option(
    "--from", "start", type=_MOMENT, metavar="DATE[THH:MM]", required=True, help="The beginning, included. UTC."
)
@click.option(
    "--to", "end", type=_MOMENT, metavar="DATE[THH:MM]", help="The end, excluded. UTC.  [default: as far as there is]"
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files, of one granularity.  [default: data/GRANULARITY in the state directory]",
)  # fmt: skip
@click.option(
    "--account", "account_id", type=int, metavar="ID", help="Ask with it.  [default: ctrader.account_id, or any]"
)
@click.option(
    "--patience", "patience_s", type=click.IntRange(1, 86_400), default=300, show_default=True,
    help="Seconds to go on without an answer.",
)  # fmt: skip
@with_broker
@with_settings
def fetch(
    settings: Settings,
    *,
    broker: Broker,
    symbols: tuple[str, ...],
    granularity: str,
    start: datetime,
    end: datetime | None,
    out: Path | None,
    account_id: int | None,
    patience_s: int,
) -> int:
    """Fetch bars or ticks from the broker into Parquet files, newest first.

    Stop it at any moment, even with kill -9: the same command goes on where it was, and what is complete is never asked
    for again. Nothing that may still change is kept: no bar that is forming, and not the last two minutes of ticks.
    Later on, a longer range adds what is missing. Bars are bid bars, as the broker makes them; ticks have both sides.

    The broker answers five such requests a second: a year of hours takes a second, a year of minutes twenty, a
    year of EURUSD's ticks up to an hour. It logs in like `plimsoll ctrader probe`.

    \b
    Examples:
      plimsoll data fetch --symbol EURUSD --granularity H1 --from 2020-01-01 --to 2021-01-01
      plimsoll data fetch --symbol EURUSD --symbol GBPUSD --granularity M1 --from 2024-06-01 --out minutes
      plimsoll data fetch --symbol XAUUSD --granularity ticks --from 2024-06-03 --to 2024-06-08 --json
      plimsoll paper --data minutes --symbol EURUSD
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    config = settings.load()
    name, period = _granularity(granularity)
    wish = _Wish(
        symbols=tuple(dict.fromkeys(_plain(symbol) for symbol in symbols)),
        granularity=name,
        period=period,
        span=_span(start, end),
        folder=(out or _own_folder(settings, name)).expanduser().absolute(),
        account_id=account_id or config.ctrader.account_id or None,
        patience_s=patience_s,
    )
    from adapters.history.archive import check_folder, locked

    check_folder(wish.folder, name)
    with locked(wish.folder):
        run(_fetch(config, broker, wish, as_json=settings.as_json))
    if not settings.as_json:
        click.echo(f"trade on them with `plimsoll paper --data {wish.folder}`")
    return 0


# --- what is wished for -----------------------------------------------------------------------------------------


def _granularity(text: str) -> tuple[str, int | None]:
    from adapters.ctrader.series import PERIOD_NAMES
    from adapters.ctrader.wire import PERIODS_NS

    name = text.upper()
    if name in {"TICKS", "TICK"}:
        return _TICKS, None
    period = PERIOD_NAMES.get(name)
    if period in PERIODS_NS:
        return name, period
    if period is not None:
        raise ConfigError(f"--granularity {text}: months have no fixed length; fetch D1 and add them up")
    known = " ".join(name for name, number in PERIOD_NAMES.items() if number in PERIODS_NS)
    raise ConfigError(f"--granularity {text}: the broker has no such bars; write one of {known}, or ticks")


def _own_folder(settings: Settings, granularity: str) -> Path:
    state = settings.open_state()
    state.create()  # readable by its owner alone, which a folder made on the way would not be
    return state.folder / "data" / granularity


def _span(start: datetime, end: datetime | None) -> "Span":
    from adapters.history.spans import Span

    now_ns = time.time_ns() // NS_PER_MS * NS_PER_MS
    span = Span(to_ns(start.replace(tzinfo=UTC)), now_ns if end is None else to_ns(end.replace(tzinfo=UTC)))
    if span.start_ns < 0:
        raise ConfigError(f"--from {start:%Y-%m-%d}: there are no prices before 1970")
    if span.start_ns >= now_ns:
        raise ConfigError(f"--from {_when(span.start_ns)} lies in the future; it is {_when(now_ns)}")
    if span.end_ns > now_ns:
        raise ConfigError(f"--to {_when(span.end_ns)} lies in the future; leave --to out to fetch as far as there is")
    if span.length_ns <= 0:
        raise ConfigError(
            f"--to {_when(span.end_ns)} is not after --from {_when(span.start_ns)}; the end is excluded, so write the "
            "day after the last one"
        )
    return span


def _plain(symbol: str) -> str:
    from adapters.ctrader.symbols import plain_name

    return plain_name(symbol)


def _symbol_id(name: str, known: dict[str, Any]) -> int:
    found = known.get(name)
    if found is not None:
        return int(found.symbolId)
    within = [each for each in known if name and name in each]
    near = list(dict.fromkeys([*within, *difflib.get_close_matches(name, known, n=_NEAR, cutoff=0.5)]))[:_NEAR]
    hint = f"near it: {', '.join(near)}" if near else f"it has, for instance, {', '.join(sorted(known)[:_NEAR])}"
    raise ConfigError(f"--symbol {name}: this broker has no such symbol; {hint}")


# --- fetching ---------------------------------------------------------------------------------------------------


async def _fetch(config: Config, broker: Broker, wish: _Wish, *, as_json: bool) -> None:
    from adapters.ctrader.fetch import Line
    from adapters.ctrader.messages import openapi
    from adapters.ctrader.symbols import light_symbols
    from daemon.access import credentials

    server, known_as = broker.server(config), broker.known_as(config)
    secret, tokens = await credentials(config)
    shown = _Shown(as_json=as_json)
    line = Line(
        server, known_as, secret, await tokens.access_token(), renew=tokens.replace, patience_s=wish.patience_s,
        on_trouble=shown.trouble,
    )  # fmt: skip
    try:
        await line.open()
        account_id = _account_id(accounts_of(await line.accounts(), config), wish.account_id)
        await line.log_in(account_id)
        listed = await line.ask(openapi.ProtoOASymbolsListReq(ctidTraderAccountId=account_id))
        known = light_symbols(listed)
        symbol_ids = {symbol: _symbol_id(symbol, known) for symbol in wish.symbols}
        trader = (await line.ask(openapi.ProtoOATraderReq(ctidTraderAccountId=account_id))).trader
        source = f"{trader.brokerName or server.host} {config.ctrader.environment}"
        for symbol, symbol_id in symbol_ids.items():
            told = await _one(line, wish, symbol, (account_id, symbol_id), source, shown)
            if as_json:
                emit(told)
            else:
                _say(told)
    finally:
        shown.end()
        await line.close()


def _account_id(accounts: Iterable[Any], wanted: int | None) -> int:
    ids = [int(each.ctidTraderAccountId) for each in accounts]
    if wanted is None:
        return ids[0]
    if wanted not in ids:
        raise ConfigError(f"account {wanted}: this login covers {', '.join(map(str, ids))}")
    return wanted


async def _one(
    line: "Line", wish: _Wish, symbol: str, ids: tuple[int, int], source: str, shown: "_Shown"
) -> dict[str, Any]:
    """Fetch what is missing of one symbol, and tell what there is then."""
    from adapters.ctrader.download import BarPlan, TickPlan, complete_end_ns, empty_series
    from adapters.ctrader.fetch import answers, newest_minute_ns
    from adapters.history.archive import Archive

    archive = Archive(wish.folder, symbol, wish.granularity, source, empty_series(symbol, wish.period))
    before = (line.requests, line.throttled, archive.count(wish.span))
    gaps = archive.missing(wish.span)
    resumed_ns = None if gaps == (wish.span,) else gaps[-1].end_ns if gaps else wish.span.start_ns
    span = wish.span
    if gaps:
        newest_ns = await newest_minute_ns(line, *ids, time.time_ns())
        span = span._replace(end_ns=min(span.end_ns, complete_end_ns(wish.period, newest_ns)))
        gaps = archive.missing(span)
    left_ns = sum(gap.length_ns for gap in gaps)
    shown.begin(f"{symbol} {wish.granularity}", span, left_ns)
    for gap in reversed(gaps):
        left_ns -= gap.length_ns
        plan: Plan = TickPlan(*ids, symbol, gap) if wish.period is None else BarPlan(*ids, symbol, wish.period, gap)
        async for parts in answers(line, plan):
            for part, rows in parts:
                archive.store(part, rows)
                shown.rows += len(rows)
            shown.step(gap.start_ns + plan.left_ns, left_ns + plan.left_ns)
    shown.end()
    return {
        "symbol": symbol,
        "granularity": wish.granularity,
        "from": _when(wish.span.start_ns),
        "to": _when(wish.span.end_ns),
        "complete_to": _when(max(span.end_ns, wish.span.start_ns)),
        "rows": archive.count(wish.span),
        "fetched": archive.count(wish.span) - before[2],
        "requests": line.requests - before[0],
        "throttled": line.throttled - before[1],
        "files": len(archive.files(wish.span)),
        "folder": str(wish.folder),
        "resumed_from": None if resumed_ns is None else _when(resumed_ns),
    }


class _Shown:
    """Progress for people: how far, how many rows, until when, and what it waits for."""

    def __init__(self, *, as_json: bool) -> None:
        console = console_for(stderr=True)
        self.rows = 0
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rows]}"), TimeRemainingColumn(), TextColumn("{task.fields[now]}", markup=False),
            console=console, disable=as_json or not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._total_s = 0

    def begin(self, name: str, span: "Span", left_ns: int) -> None:
        """A symbol begins."""
        self.rows, self._total_s = 0, max(span.length_ns, 0) // NS_PER_S
        done_s = self._total_s - left_ns // NS_PER_S
        self._progress.start()
        self._task = self._progress.add_task(name, total=self._total_s, completed=done_s, rows="", now="")

    def step(self, at_ns: int, left_ns: int) -> None:
        """An answer came; it went back to a moment, and so much time is left."""
        if self._task is not None:
            self._progress.update(
                self._task, completed=self._total_s - left_ns // NS_PER_S, rows=f"{self.rows:,} rows",
                now=f"{to_datetime(at_ns):%Y-%m-%d}",
            )  # fmt: skip

    def trouble(self, why: str) -> None:
        """No answer for now."""
        if self._task is not None:
            self._progress.update(self._task, now=f"waiting: {why}")

    def end(self) -> None:
        """A symbol is done, or it is all over: leave the terminal as it was."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._progress.stop()


def _say(told: dict[str, Any]) -> None:
    what = "ticks" if told["granularity"] == _TICKS else f"{told['granularity']} bars"
    been = f", {told['rows'] - told['fetched']:,} of them there before" if told["resumed_from"] else ""
    click.echo(
        f"{told['symbol']}: {told['rows']:,} {what} from {told['from']} to {told['complete_to']}{been}; "
        f"{told['files']} file{'s' * (told['files'] != 1)}, {told['requests']} request{'s' * (told['requests'] != 1)}"
    )
    if told["complete_to"] != told["to"]:
        click.echo(f"{told['symbol']}: after {told['complete_to']} nothing is complete at the broker yet", err=True)


def _when(ts_ns: int) -> str:
    return to_datetime(ts_ns).replace(microsecond=0).isoformat().replace("+00:00", "Z")
