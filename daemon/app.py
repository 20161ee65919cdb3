"""The composition root: the one place that puts the rooms together and runs a paper day."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
from rich.console import Console

from adapters.exchange import Exchange, ExecutionModel
from adapters.history import SpreadModel
from bus.errors import ConfigError, DataError, InvariantBroken
from bus.messages import AnyMessage, ModelAdmitted, RunStarted
from bus.series import BarSeries
from bus.values import NS_PER_MS, NS_PER_S, PRICE_SCALE, Instrument, quote_to_account_rate_e8
from daemon import marketdata
from daemon.alerting import alerting
from daemon.config import Config
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine, Watch, harmless
from daemon.inference import Distributor, forecasting
from daemon.journal import Record, read, segments
from daemon.marketdata import MarketData
from daemon.news import scheduled
from daemon.paper import Latencies, PaperShell
from daemon.portfolioview import portfolio_view
from daemon.state import Run, State
from daemon.status import Status
from daemon.surroundings import Look, RunResult, run_to_its_end, surroundings
from daemon.swap import Swaps
from daemon.swaprecord import members_of, opening_admissions, serving
from daemon.training import find_models
from daemon.trainingnews import TrainingNews, hearing
from models.artifact import Artifact
from models.client import admissions
from models.registry import Registry

_NOTES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperOptions:
    """What the command line decides about a paper day.

    `speed` is simulated seconds a second, None = as fast as it goes; `headless` shows plain lines and no live view.
    """

    speed: float | None = None
    headless: bool = False
    quiet: bool = False
    new: bool = False
    seed: int = 7
    web: bool = True

    @property
    def look(self) -> Look:
        """What a person sees meanwhile."""
        return Look(headless=self.headless, quiet=self.quiet, web=self.web)


async def run_paper(config: Config, options: PaperOptions, state: State, console: Console) -> RunResult:
    """Run or continue a paper day.

    Raises:
        ConfigError: something the user can mend before anything has happened.
        InvariantBroken: the books or the journal contradict themselves.
    """
    began_s = time.monotonic()
    if config.data.path and not options.quiet:
        console.print(f"reading {config.data.path}", soft_wrap=True, markup=False, highlight=False)
    data = load_data(config)
    _say_what_is_missing(config, data, options, console)
    run = _choose_run(state, options)
    recorded = _recorded(run)
    said = [record.message for record in recorded]
    registry = Registry(state.models, config.models.trust)
    note = _notes(options, console)
    admitted, artifacts = _models_of(registry, said, data.period_ns, note)
    if not artifacts:
        models = find_models(state, data, config, console=console, seed=options.seed, quiet=options.quiet)
        artifacts = [artifact for loaded in models for artifact in loaded.artifacts]
        admitted = [each for loaded in models for each in admissions(loaded, ts_init_ns=data.split.calibrate_end_ns)]
    opening = opening_messages(config, data, admitted, options.seed)
    if recorded and recorded[0].message != opening[0]:
        raise ConfigError(
            f"run {run.name} in {state.folder} was started with other settings, models or data; "
            "finish it with those, or leave it and start another with --new"
        )

    status = Status(progress_total=data.trade_quote_count(), pace=_pace(options.speed), run=run.name)
    told_to = recorded[-1].seq if recorded else 0
    async with (
        alerting(config, state, run, mode="paper", told_to=told_to, note=note) as alerts,
        forecasting(config, artifacts, console) as inference,
    ):
        watch: list[Watch] = [harmless(status.watch, note), harmless(alerts.watch, note)]
        status.inference = inference.figures
        if inference.bus is not None:
            watch.append(harmless(Distributor(inference.bus, console).watch, note))
        engine = Engine(run.journal)
        status.portfolio = lambda: portfolio_view(engine.core)
        shell = PaperShell(
            engine=engine,
            venue=_exchange(config, data),
            quotes=data.trade_quotes(),
            ask=inference.ask,
            period_ns=data.period_ns,
            latencies=latencies(config),
            speed=options.speed,
            recorded=recorded,
        )
        with Swaps(
            registry=registry, state=state, engine=engine, service=inference.service, tell=shell.tell,
            settings=config.models, now_ns=lambda: shell.now_ns, note=note, run=run.name, period_ns=data.period_ns,
            horizons=config.forecast.horizons,
        ) as swaps:  # fmt: skip
            engine.watch_only([*watch, swaps.watch])
            swaps.catch_up(said)
            halted = state.halted()
            if halted is not None:
                shell.tell(halted)
            surrounded = surroundings(
                config, shell, status, state, console, look=options.look, swaps=swaps, told=halted
            )
            async with hearing(inference.bus, TrainingNews(registry, swaps, data.period_ns, note), status):
                result = await run_to_its_end(shell, opening, run, surrounded, began_s)
    if result.reason == "end of data":
        run.finish()
    return result


def _models_of(
    registry: Registry, said: Sequence[AnyMessage], period_ns: int, note: Callable[[str], None]
) -> tuple[list[ModelAdmitted], list[Artifact]]:
    """The models that a recorded run began with, and those that serve it where it ends.

    Without any of the latter the run may still go on: training the same data again gives the same models.
    """
    opening = opening_admissions(said)
    members = members_of(said)
    kept = {entry.model_id for entry in registry.list()} if opening else set[str]()
    if not any(each.model_id in kept for models in members.values() for each in models):
        return [], []
    return opening, serving(registry, members, period_ns, note)


def _notes(options: PaperOptions, console: Console) -> Callable[[str], None]:
    def note(line: str) -> None:
        if not options.quiet:
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    return note


def load_data(config: Config, *, check: bool = True) -> MarketData:
    """The market data a configuration names; `check` as of `marketdata.load`."""
    return marketdata.load(
        Path(config.data.path) if config.data.path else None,
        symbols=config.data.symbols,
        clock=config.data.clock or None,
        period_s=config.data.period_s,
        spread_of=lambda symbol: spread_model(config, symbol),
        train_pct=config.data.train_pct,
        calibrate_pct=config.data.calibrate_pct,
        since_ns=config.data.moment_ns("since") or 0,
        ends_ns=config.data.ends_ns,
        check=check,
    )


def spread_model(config: Config, symbol: str) -> SpreadModel:
    """The spread of a symbol whose source has one side only."""
    return SpreadModel(pip_e5=config.instrument(symbol).pip_e5, **msgspec.structs.asdict(config.spread))


def latencies(config: Config) -> Latencies:
    """Simulated delays."""
    return Latencies(
        model_latency_ns=config.forecast.model_latency_ms * NS_PER_MS,
        order_latency_ns=config.execution.order_latency_ms * NS_PER_MS,
        fact_latency_ns=config.execution.fact_latency_ms * NS_PER_MS,
    )


def _choose_run(state: State, options: PaperOptions) -> Run:
    last = state.last_run()
    if last is not None and not last.finished and not options.new:
        return last
    return state.new_run()


def _say_what_is_missing(config: Config, data: MarketData, options: PaperOptions, console: Console) -> None:
    """Rows that were left out; and, however quiet, symbols that nothing values in the account's currency."""
    instruments = _instruments(config, data)
    anything = {each.symbol: PRICE_SCALE for each in instruments}
    for each in instruments:
        if quote_to_account_rate_e8(each.quote, config.account.currency, instruments, anything) is None:
            line = (
                f"{each.symbol}: every order will be refused, for no symbol in the data links {each.quote} to the "
                f"account's {config.account.currency}; give data of one that does, or set account.currency"
            )
            console.print(line, soft_wrap=True, markup=False)
    if not options.quiet:
        for note in data.notes[:_NOTES_SHOWN]:
            console.print(note, soft_wrap=True, markup=False)
        if len(data.notes) > _NOTES_SHOWN:
            console.print(f"and {len(data.notes) - _NOTES_SHOWN} more files or rows left out")


def _recorded(run: Run) -> list[Record]:
    """What an unfinished run has on record.

    Raises:
        InvariantBroken: it cannot be read, so the run cannot be continued.
    """
    try:
        return list(read(run.journal)) if segments(run.journal) else []
    except DataError as error:
        raise InvariantBroken(
            f"run {run.name} cannot be continued, its journal was altered ({error}); restore {run.journal} from a "
            "backup, or start a new run with --new"
        ) from None


def _pace(speed: float | None) -> str:
    if speed is None:
        return "max"
    return "real" if speed == 1 else f"{speed:g}x"


def opening_messages(
    config: Config, data: MarketData, admitted: Sequence[ModelAdmitted], seed: int
) -> list[AnyMessage]:
    """The messages that start a run: what it is, which models may speak, and what they may look back on."""
    settings = CoreSettings(
        risk=config.risk,
        sizing=config.sizing,
        strategies=(StrategySettings(name=config.strategy.name, params=config.strategy.params),),
        slippage_allowance_e5=config.execution.slippage_allowance_e5,
        forecast_deadline_ns=config.forecast.deadline_s * NS_PER_S,
        data=f"{data.description} [{data.fingerprint}-{_simulation(config)}-{seed}]",
        swap=config.swap,
        cost=config.alerts.cost,
    )
    start_ns = data.split.calibrate_end_ns
    started = RunStarted(
        run_id="",
        schema=1,
        mode="paper",
        currency=config.account.currency,
        money_digits=config.account.money_digits,
        leverage=config.account.leverage,
        hedged=config.account.hedged,
        period_ns=data.period_ns,
        horizons=config.forecast.horizons,
        levels_ppm=config.forecast.levels_ppm,
        instruments=_instruments(config, data),
        config_json=msgspec.json.encode(settings).decode(),
        ts_init_ns=start_ns,
        venue_json=msgspec.json.encode(_execution_model(config, data)).decode(),
    )
    # Equal settings, data and models give an equal run id, and so equal order ids: two runs can be compared by hash.
    news = scheduled(config, start_ns)
    digest = sha256(msgspec.json.encode(started))
    for message in admitted:
        digest.update(message.model_id.encode())
    for message in news:
        digest.update(msgspec.json.encode(message))
    started = msgspec.structs.replace(started, run_id=digest.hexdigest()[:8])
    history = [bar for symbol in data.symbols for bar in symbol.history(data.split)]
    return [started, *news, *admitted, *history]


def _simulation(config: Config) -> str:
    """Fingerprint of what shapes a simulated day from outside the core."""
    settings = (config.account, config.exchange, config.execution.order_latency_ms, config.execution.fact_latency_ms,
                config.forecast.model_latency_ms)  # fmt: skip
    return sha256(msgspec.json.encode(settings)).hexdigest()[:16]


def _exchange(config: Config, data: MarketData) -> Exchange:
    return Exchange(
        account_id="paper",
        currency=config.account.currency,
        money_digits=config.account.money_digits,
        leverage=config.account.leverage,
        hedged=config.account.hedged,
        balance=config.account.balance_units,
        instruments=_instruments(config, data),
        model=_execution_model(config, data),
    )


def _instruments(config: Config, data: MarketData) -> tuple[Instrument, ...]:
    return tuple(config.instrument(symbol.symbol) for symbol in data.symbols)


def _execution_model(config: Config, data: MarketData) -> ExecutionModel:
    """The configured one; where quotes are made from bars, without gifts and without a second rollover.

    A path made from a bar shows its extremes as quotes: a target must not fill there merely because no quote came in
    between. And its spread model already knows 17:00 New York.
    """
    if not any(isinstance(symbol.series, BarSeries) for symbol in data.symbols):
        return config.exchange
    made_from_bars = {"pass_on_gaps": False, "rollover_minutes": 0}
    unset = {key: value for key, value in made_from_bars.items() if f"exchange.{key}" not in config.sources}
    return msgspec.structs.replace(config.exchange, **unset)
