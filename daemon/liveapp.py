"""The composition of a live or demo run: configuration, credentials, account, models, journal, shell.

What is wired stands in one place, and therefore in one file of about 400 lines.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator
from hashlib import sha256
from typing import Any, Literal

import msgspec
from rich.console import Console

from adapters.ctrader.catalogue import Terms
from adapters.ctrader.connection import Connection, Disconnected
from adapters.ctrader.events import Event
from adapters.ctrader.live import LiveVenue
from adapters.ctrader.messages import openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.series import period_of
from adapters.ctrader.shell import Server
from bus.clock import Clock, ManualClock, SystemClock
from bus.errors import ConfigError, DataError, InvariantBroken, Refused
from bus.messages import AnyMessage, HaltLatched, HaltLevel, HaltLifted, HaltTrading, RunStarted
from bus.values import NS_PER_MS, NS_PER_S
from daemon.access import credentials, server_of
from daemon.alerting import alerting
from daemon.app import spread_model
from daemon.config import Config
from daemon.core import CoreSettings, StrategySettings
from daemon.deadman import Deadman
from daemon.engine import Engine, Watch, harmless
from daemon.inference import Distributor, forecasting
from daemon.journal import read, segments
from daemon.live import LiveShell
from daemon.news import scheduled
from daemon.portfolioview import portfolio_view
from daemon.snapshot import DepthView, MarginView
from daemon.state import Run, State
from daemon.status import Status
from daemon.surroundings import Look, RunResult, run_to_its_end, surroundings
from daemon.swap import Swaps
from daemon.swaprecord import members_of, serving
from daemon.takeup import take_up
from daemon.trainingnews import TrainingNews, hearing
from models.admission import Budget, Situation, examine_all
from models.client import admissions, choosing
from models.registry import Loaded, Registry

Mode = Literal["demo", "live"]

CONFIRMATION = "PLIMSOLL_LIVE_ACCOUNT"
DEFAULT_PERIOD_S = 3_600


def permitted(config: Config, mode: Mode) -> None:
    """Refuse real money unless the configuration and the environment both say so.

    Raises:
        ConfigError: one of them does not.
    """
    if mode != "live":
        return
    if not config.ctrader.allow_live:
        raise ConfigError(
            "live trading risks real money and is not allowed: set ctrader.allow_live = true in the configuration, "
            f"and {CONFIRMATION} in the environment to the account's id; try --mode demo first"
        )
    given = os.environ.get(CONFIRMATION, "")
    if not given.isdecimal() or (config.ctrader.account_id and int(given) != config.ctrader.account_id):
        raise ConfigError(
            f"live trading risks real money and is not confirmed: set {CONFIRMATION} in the environment to the id of "
            f"the account that is to be traded{f', {config.ctrader.account_id}' if config.ctrader.account_id else ''}"
        )


async def run_live(config: Config, mode: Mode, *, new: bool, look: Look, state: State, console: Console) -> RunResult:
    """Run, or continue, trading at the broker until stopped.

    Raises:
        ConfigError: something the user can mend before anything has happened.
        Refused: the broker does not know the application, or the account.
        InvariantBroken: the books or the journal contradict themselves.
    """
    began_s = time.monotonic()
    permitted(config, mode)
    period_ns = _period_ns(config)
    registry = Registry(state.models, config.models.trust)
    models = find_models(config, registry, period_ns)
    symbols = tuple(_symbol(each) for each in models)
    clock: Clock = ManualClock() if config.ctrader.time == "recorded" else SystemClock()
    note = _notes(console, look)
    async with _venue(config, mode, symbols, period_ns, clock, note) as (venue, terms):
        run, resumed = _choose_run(state, _origin(mode, terms), new=new)
        status = Status(pace="real", run=run.name)
        status.depth = lambda: {
            symbol: DepthView(*(tuple((level.price_e5, level.size_e2) for level in side) for side in sides))
            for symbol, sides in venue.depth().items()
        }
        status.margin = lambda: _margin(venue)
        artifacts = [artifact for loaded in models for artifact in loaded.artifacts]
        said = [record.message for record in read(run.journal)] if resumed else []  # records count from 1
        if resumed:  # who speaks in it is asked again; what was published meanwhile comes in as while it runs
            artifacts = serving(registry, members_of(said), period_ns, note)
        async with (
            alerting(config, state, run, mode=mode, told_to=len(said), note=note) as alerts,
            forecasting(config, artifacts, console, live=True) as inference,
        ):
            watch: list[Watch] = [harmless(status.watch, note), harmless(alerts.watch, note)]
            status.inference = inference.figures
            if inference.bus is not None:
                watch.append(harmless(Distributor(inference.bus, console).watch, note))
            engine, opening = take_up(
                run.journal,
                venue.account,
                clock,
                fresh=None
                if resumed
                else lambda: opening_messages(config, mode, terms, models, period_ns, clock.now_ns()),
                watch=watch,
            )
            status.portfolio = lambda: portfolio_view(engine.core)
            if resumed:
                _still_the_same(engine, terms)
                opening = [*opening, *scheduled(config, clock.now_ns())]  # the calendar as the file has it now
            shell = LiveShell(
                engine=engine,
                venue=venue,
                ask=inference.ask,
                clock=clock,
                period_ns=period_ns,
                spread_of=lambda symbol: spread_model(config, symbol),
                model_latency_ns=config.forecast.model_latency_ms * NS_PER_MS,
                flatten_on_stop=config.ctrader.on_stop == "flatten",
            )
            with Swaps(
                registry=registry, state=state, engine=engine, service=inference.service, tell=shell.tell,
                settings=config.models, now_ns=clock.now_ns, note=note, run=run.name, period_ns=period_ns,
                horizons=config.forecast.horizons,
            ) as swaps:  # fmt: skip
                engine.watch_only([*watch, swaps.watch])
                swaps.catch_up(said)
                halted = state.halted()
                told = [] if resumed else halts_before(state, run, _origin(mode, terms))
                told += [halted] if halted is not None else []
                told = [msgspec.structs.replace(each, ts_init_ns=clock.now_ns()) for each in told]
                asyncio.get_running_loop().set_exception_handler(shell.failed)
                surrounded = surroundings(config, shell, status, state, console, look=look, swaps=swaps, told=halted)
                news = TrainingNews(registry, swaps, period_ns, note)
                with _watched(shell, state, clock, config.risk.loss_halt_level):
                    async with hearing(inference.bus, news, status):
                        return await run_to_its_end(shell, [*opening, *told], run, surrounded, began_s)


@contextlib.contextmanager
def _watched(shell: LiveShell, state: State, clock: Clock, level: int) -> Generator[None]:
    """Halt whatever comes next where this process cannot go on: its journal fails, or its core stands still."""
    halt_level = HaltLevel(level)
    state.arm(halt_level)
    shell.on_adrift = state.spring
    if isinstance(clock, ManualClock):
        yield  # recorded time may stand still
        return
    core, journal = shell.engine.core, shell.engine.journal
    with Deadman(lambda: journal.seq + core.now_ns, lambda why: state.spring(halt_level, why)):
        yield


def _margin(venue: LiveVenue) -> MarginView | None:
    """What the account is worth in the broker's figures; None before every price that it needs is known."""
    try:
        found = venue.account.figures()
    except DataError:
        return None
    level = found.margin_level_pct
    return MarginView(
        balance=found.balance,
        equity=found.equity,
        used=found.used_margin,
        free=found.free_margin,
        level_pct=None if level is None else float(level),
    )


def _notes(console: Console, look: Look) -> Callable[[str], None]:
    def note(line: str) -> None:
        if not look.quiet:
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    return note


def _period_ns(config: Config) -> int:
    period_ns = (config.data.period_s or DEFAULT_PERIOD_S) * NS_PER_S
    try:
        period_of(period_ns)
    except DataError as error:
        raise ConfigError(f"data.period_s = {config.data.period_s}: {error}") from None
    return period_ns


def find_models(config: Config, registry: Registry, period_ns: int) -> tuple[Loaded, ...]:
    """The models of every symbol to trade, from the registry; nothing is trained here.

    Raises:
        ConfigError: a symbol has none that fits; says how to make one.
        ModelError: one may not speak (`models.admission`).
    """
    symbols = config.data.symbols or tuple(
        sorted({entry.symbol for entry in registry.list() if entry.period_ns == period_ns})
    )
    if not symbols:
        raise ConfigError(
            "no symbols to trade: set data.symbols, and train models for them "
            "(`plimsoll data fetch`, then `plimsoll train --data …`)"
        )
    found: list[Loaded] = []
    for symbol in symbols:
        loaded = registry.load(symbol, period_ns)
        horizons = () if loaded is None else _horizons(loaded)
        if loaded is None or horizons != config.forecast.horizons:
            why = (
                "is none" if loaded is None else f"answers {list(horizons)} bars, not {list(config.forecast.horizons)}"
            )
            raise ConfigError(
                f"no model for {symbol} on bars of {period_ns // NS_PER_S} s: there {why}; make one with "
                f"`plimsoll data fetch --symbol {symbol} …` and `plimsoll train --data … --symbol {symbol}`"
            )
        situation = Situation(symbol=symbol, period_ns=period_ns, horizons=horizons)
        examine_all(loaded.artifacts, situation, Budget(latency_ns=config.models.latency_ms * NS_PER_MS))
        found.append(choosing(loaded, config.models.trades.get(symbol, "")))
    return tuple(found)


def _horizons(loaded: Loaded) -> tuple[int, ...]:
    return next(tuple(each.manifest.horizons) for each in loaded.artifacts if each.model_id == loaded.active)


def _symbol(loaded: Loaded) -> str:
    return next(each.manifest.symbol for each in loaded.artifacts if each.model_id == loaded.active)


# --- the account -----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _venue(
    config: Config, mode: Mode, symbols: tuple[str, ...], period_ns: int, clock: Clock, note: Callable[[str], None]
) -> AsyncGenerator[tuple[LiveVenue, Terms]]:
    """The account, connected and logged in."""
    own = config.ctrader
    secret, tokens = await credentials(config)
    server = server_of(config)
    account_id = await _account_id(config, mode, server, secret, await tokens.access_token())

    def connect(on_event: Callable[[Event | Disconnected], None]) -> Connection:
        return Connection(server, own.client_id, secret, on_event=on_event)

    venue = LiveVenue(
        connect, tokens, account_id=account_id, symbols=symbols, period_ns=period_ns, clock=clock, label=own.label,
        adopt=own.adopt, depth=own.depth, note=note,
    )  # fmt: skip
    try:
        note(f"connecting to {server}, account {account_id} ({mode})")
        yield venue, await venue.open()
    finally:
        await venue.close()


async def _account_id(config: Config, mode: Mode, server: Server, secret: Secret, token: Secret) -> int:
    """The account to trade, asked of the broker: of this environment, and covered by a login that may trade.

    Raises:
        ConfigError: none, or more than one, fits.
    """
    listed = await _listed(config, server, secret, token)
    if listed.HasField("permissionScope") and not listed.permissionScope:
        raise ConfigError("this login may look at accounts and not trade; log in again with ctrader.scope = trading")
    there = [int(each.ctidTraderAccountId) for each in listed.ctidTraderAccount if each.isLive == (mode == "live")]
    wanted = config.ctrader.account_id or (int(os.environ[CONFIRMATION]) if mode == "live" else 0)
    if wanted in there:
        return wanted
    if not wanted and len(there) == 1:
        return there[0]
    names = ", ".join(map(str, there)) or "none"
    raise ConfigError(f"ctrader.account_id = {wanted}: choose a {mode} account of this login; there are {names}")


async def _listed(config: Config, server: Server, secret: Secret, token: Secret) -> Any:
    connection = Connection(server, config.ctrader.client_id, secret, on_event=lambda _: None)
    try:
        await connection.start()
        return await connection.request(openapi.ProtoOAGetAccountListByAccessTokenReq(accessToken=token.reveal()))
    except Refused as refused:
        raise ConfigError(f"the broker refuses this login ({refused}); `plimsoll auth status` says more") from None
    finally:
        await connection.close()


# --- the run ---------------------------------------------------------------------------------------------------


def _origin(mode: Mode, terms: Terms) -> str:
    return f"cTrader {mode} account {terms.account_id}"


def _choose_run(state: State, origin: str, *, new: bool) -> tuple[Run, bool]:
    """The unfinished run of this very account, or a new one."""
    last = state.last_run()
    if last is None or last.finished or new or not segments(last.journal):
        return state.new_run(), False
    try:
        first = next(iter(read(last.journal)), None)
    except DataError as error:
        raise InvariantBroken(f"run {last.name} cannot be continued, its journal was altered ({error})") from None
    if first is None or not isinstance(first.message, RunStarted):
        return state.new_run(), False
    settings = msgspec.json.decode(first.message.config_json, type=CoreSettings)
    return (last, True) if settings.data == origin else (state.new_run(), False)


def halts_before(state: State, run: Run, origin: str) -> list[HaltTrading]:
    """What is still latched in the newest earlier run of this account: a new run does not lift it.

    A journal that cannot be read is taken to hold a halt.
    """
    for earlier in reversed([each for each in state.runs() if each.name != run.name and segments(each.journal)]):
        held: dict[str, HaltLatched] = {}
        try:
            records = read(earlier.journal)
            first = next(records, None)
            if first is None or not isinstance(first.message, RunStarted):
                continue
            if msgspec.json.decode(first.message.config_json, type=CoreSettings).data != origin:
                continue
            for record in records:
                if isinstance(record.message, HaltLatched):
                    held[record.message.rule] = record.message
                elif isinstance(record.message, HaltLifted):
                    held.clear()
        except (DataError, msgspec.MsgspecError) as error:
            return [_still(HaltLevel.NO_NEW_RISK, "journal", f"run {earlier.name} cannot be read: {error}")]
        return [
            _still(each.level, rule, f"still in force from run {earlier.name}: {each.reason or each.value}")
            for rule, each in held.items()
        ]
    return []


def _still(level: HaltLevel, rule: str, reason: str) -> HaltTrading:
    return HaltTrading(level=level, source=rule, operator="plimsoll", reason=reason[:400], ts_init_ns=0)


def _still_the_same(engine: Engine, terms: Terms) -> None:
    """Refuse to go on with a book that counts otherwise than the account does."""
    book = engine.core.book
    for what, ours, theirs in (
        ("currency", book.currency, terms.currency),
        ("money digits", book.money_digits, terms.money_digits),
        ("hedged", book.hedged, terms.hedged),
    ):
        if ours != theirs:
            raise ConfigError(f"the account's {what} was {ours} when this run began and is {theirs} now; use --new")
    now = {each.symbol: each for each in terms.instruments}
    for symbol, before in book.instruments.items():
        after = now.get(symbol)
        if after is not None and (before.digits, before.lot_e2, before.pip_e5) != (
            after.digits, after.lot_e2, after.pip_e5,
        ):  # fmt: skip
            raise ConfigError(f"the broker counts {symbol} otherwise than when this run began; use --new")


def opening_messages(
    config: Config, mode: Mode, terms: Terms, models: tuple[Loaded, ...], period_ns: int, now_ns: int
) -> list[AnyMessage]:
    """The messages that start a run: the account's terms, the settings, and which models may speak."""
    settings = CoreSettings(
        risk=config.risk,
        sizing=config.sizing,
        strategies=(StrategySettings(name=config.strategy.name, params=config.strategy.params),),
        slippage_allowance_e5=config.execution.slippage_allowance_e5,
        forecast_deadline_ns=config.forecast.deadline_s * NS_PER_S,
        conversion=terms.others,
        data=_origin(mode, terms),
        swap=config.swap,
        cost=config.alerts.cost,
    )
    admitted = [message for loaded in models for message in admissions(loaded, ts_init_ns=now_ns)]
    started = RunStarted(
        run_id=sha256(f"{settings.data} {time.time_ns()}".encode()).hexdigest()[:8],
        schema=1,
        mode=mode,
        currency=terms.currency,
        money_digits=terms.money_digits,
        leverage=terms.leverage,
        hedged=terms.hedged,
        period_ns=period_ns,
        horizons=config.forecast.horizons,
        levels_ppm=config.forecast.levels_ppm,
        instruments=terms.instruments,
        config_json=msgspec.json.encode(settings).decode(),
        ts_init_ns=now_ns,
    )
    return [started, *scheduled(config, now_ns), *admitted]
