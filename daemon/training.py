"""Training from the daemon's side: which models a run needs, and a process of its own to make them.

Training never shares a process with trading: it loads learning libraries, uses the machine as it likes and may fail.
Run as ``python -m daemon.training STATE SEED`` with the configuration as JSON on standard input.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from bus.calendar import to_datetime
from bus.errors import ModelError, TradingError
from bus.messages import ModelsPublished, TrainingEnded, TrainingStarted
from bus.series import BarSeries
from bus.values import NS_PER_MS
from daemon import children
from daemon.config import Config
from daemon.marketdata import MarketData, SymbolData
from daemon.progress import progress_bar
from daemon.settings import BusSection
from daemon.state import State
from daemon.trainingbus import Progress, telling
from daemon.trainingreport import write_report
from daemon.trainingrun import TrainingRun
from models.admission import Budget, Situation, examine_all
from models.client import choosing
from models.learning import UNATTENDED, TrainingStopped
from models.registry import Loaded, Registry, Release

if TYPE_CHECKING:
    from models.train.engine.choices import Choice

OnProgress = Callable[[str, float], None]

STOPPED = 130
"""Exit status of a training process that was told to stop."""

_leaving = threading.Event()


def find_models(
    state: State, data: MarketData, config: Config, *, console: Console, seed: int, quiet: bool
) -> tuple[Loaded, ...]:
    """The models a run trades on, one release a symbol; trained now where the registry has none that fits.

    A release fits where it answers the configured horizons, has seen nothing of the period that is traded, and was made
    with the seed and of the architectures that were asked for, if any were.

    Raises:
        ModelError: training failed, or what it published does not verify, or may not speak (`models.admission`).
    """
    if any(_fitting(state, symbol, data, config) is None for symbol in data.symbols):
        _train_in_a_child(state, config, console=console, seed=seed, quiet=quiet)
    found: list[Loaded] = []
    for symbol in data.symbols:
        loaded = _fitting(state, symbol, data, config)
        if loaded is None:
            raise ModelError(
                f"training gave no model for {symbol.symbol} that fits this run; see `plimsoll models list`"
            )
        situation = Situation(symbol=symbol.symbol, period_ns=data.period_ns, horizons=config.forecast.horizons)
        examine_all(loaded.artifacts, situation, Budget(latency_ns=config.models.latency_ms * NS_PER_MS))
        if not quiet:
            console.print(_learnt(symbol.symbol, loaded), soft_wrap=True, highlight=False)
        found.append(loaded)
    return tuple(found)


def _learnt(symbol: str, loaded: Loaded) -> str:
    """What the model that trades has learnt from, which may be other data than the one that is traded."""
    window = next(each.manifest.training for each in loaded.artifacts if each.model_id == loaded.active)
    first, last = to_datetime(window.first_ts_ns), to_datetime(window.last_ts_ns)
    return f"{symbol}: {loaded.active} trades, learnt from {window.bars:,} bars of {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _fitting(state: State, symbol: SymbolData, data: MarketData, config: Config) -> Loaded | None:
    loaded = Registry(state.models, config.models.trust).load(symbol.symbol, data.period_ns)
    if loaded is None:
        return None
    loaded = choosing(loaded, config.models.trades.get(symbol.symbol, ""))
    for artifact in loaded.artifacts:
        manifest = artifact.manifest
        seen_ns = manifest.training.seen_ns
        if manifest.kind == "forecaster" and tuple(manifest.horizons) != config.forecast.horizons:
            return None
        if seen_ns >= data.split.calibrate_end_ns:
            return None
        if "models.seed" in config.sources and manifest.seed != config.models.seed:
            return None  # another seed was asked for in so many words
    if any(key.startswith("models.parameters.") for key in config.sources):
        for artifact in loaded.artifacts:
            told = {key: value for key, value in artifact.manifest.config.items() if key.startswith("parameters.")}
            wanted = config.models.parameters.get(artifact.manifest.name, {})
            if told != {f"parameters.{key}": value for key, value in wanted.items()}:
                return None  # and so were other parameters
    names = {artifact.manifest.name for artifact in loaded.artifacts}
    if "models.architectures" in config.sources and names != set(config.models.architectures):
        return None  # likewise
    return loaded


def _train_in_a_child(state: State, config: Config, *, console: Console, seed: int, quiet: bool) -> None:
    if not quiet:
        console.print(f"no models for this data yet: training {', '.join(config.models.architectures)}")
    # A process group of its own: Ctrl-C reaches this process alone, which then stops the child once and in order.
    child = subprocess.Popen(
        children.command("daemon.training", str(state.folder), str(seed), "quiet" if quiet else "bar"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=children.environment(),
        process_group=0,
    )
    try:
        child.communicate(msgspec.json.encode(config))
    except BaseException:
        # Stopped while waiting. The child must not outlive the lock that its parent holds on the state.
        child.terminate()
        child.wait()
        raise
    if child.returncode != 0:
        raise ModelError(f"training failed (exit status {child.returncode}); the message above says why")


def train(
    state: State,
    config: Config,
    data: MarketData,
    *,
    seed: int,
    on_progress: OnProgress | None = None,
    stage: bool = False,
    run: TrainingRun | None = None,
) -> list[Release]:
    """Train, calibrate and publish the configured models for every symbol.

    Args:
        state: whose registry receives them.
        config: architectures, horizons and data settings.
        data: split by time; only its training and calibration parts are looked at.
        seed: equal seeds give equal models.
        on_progress: called with a label and a share of 0 to 1.
        stage: publish beside what is in force.
        run: keeps what the training needs to go on, hears wishes and is told; None = nothing is kept.

    Raises:
        TrainingStopped: the run was asked to stop; nothing was published.
    """
    from models.train import fit_defaults  # scikit-learn: nothing but training loads it

    releases: list[Release] = []
    for index, symbol in enumerate(data.symbols):

        def progress(label: str, share: float, index: int = index, name: str = symbol.symbol) -> None:
            _still_wanted(run)
            if on_progress is not None:
                on_progress(f"{name}: {label}", (index + share) / len(data.symbols))

        bars = symbol.train(data.split)
        if run is not None:
            run.says(_started(run.name, config, bars))
        fitted = fit_defaults(
            bars,
            symbol.calibrate(data.split),
            horizons=config.forecast.horizons,
            seed=seed,
            progress=progress,
            names=config.models.architectures,
            learning=config.training,
            jobs=partial(run.job, symbol.symbol) if run is not None else lambda _name: UNATTENDED,
            parameters=config.models.parameters,
        )
        _still_wanted(run)
        if run is None or run.writes:
            releases.append(Registry(state.models).publish(fitted.artifacts, active=fitted.active, stage=stage))
            if run is not None:
                run.says(_published(run.name, bars, releases[-1]))
    return releases


def _still_wanted(run: TrainingRun | None) -> None:
    """Leave once more, where a library that was just being imported, or called, has swallowed the first exit."""
    if _leaving.is_set() or (run is not None and run.leaving):
        raise SystemExit(STOPPED)


def _started(run: str, config: Config, bars: BarSeries) -> TrainingStarted:
    return TrainingStarted(
        run=run, symbol=bars.symbol, models=config.models.architectures, bars=len(bars),
        first_ts_ns=int(bars.ts_open_ns[0]), last_ts_ns=int(bars.ts_open_ns[-1]), ts_init_ns=time.time_ns(),
    )  # fmt: skip


def _published(run: str, bars: BarSeries, release: Release) -> ModelsPublished:
    return ModelsPublished(
        run=run, symbol=bars.symbol, period_ns=bars.period_ns, release=release.number, models=release.models,
        active=release.active, ts_init_ns=time.time_ns(),
    )  # fmt: skip


def plans_of(config: Config, data: MarketData) -> "dict[str, list[Choice]]":
    """What `train` would do on this machine, by symbol and network."""
    from models.train.plans import plans

    return {
        f"{symbol.symbol} {name}": lines
        for symbol in data.symbols
        for name, lines in plans(
            symbol.train(data.split),
            symbol.calibrate(data.split),
            horizons=config.forecast.horizons,
            seed=config.models.seed,
            names=config.models.architectures,
            learning=config.training,
            parameters=config.models.parameters,
        ).items()
    }


def train_in_a_run(
    state: State, config: Config, data: MarketData, run: TrainingRun, *, show: OnProgress, stage: bool
) -> list[Release]:
    """`train` with a run's folder and a live line of figures; the page is written however it ends.

    Raises:
        ConfigError: the run belongs to another process, or was begun with other settings.
        TrainingStopped: it was asked to stop; the same command continues it.
    """
    with run.held(config), telling(config.bus if run.writes else BusSection(), run.note) as tell:
        live, told = Live(show), Progress(run.name, tell)
        run.says = tell
        outcome, reason = "finished", ""

        def hear(record: Mapping[str, Any]) -> None:
            live.told(record)
            told.record(record)

        def progress(label: str, share: float) -> None:
            live.progress(label, share)
            told.stage(label, share)

        run.hears = hear
        try:
            releases = train(state, config, data, seed=config.models.seed, on_progress=progress, stage=stage, run=run)
            run.finish(releases)
        except BaseException as error:
            outcome = "stopped" if isinstance(error, TrainingStopped | SystemExit | KeyboardInterrupt) else "failed"
            reason = str(error) or type(error).__name__
            run.note(f"ended: {reason}")
            raise
        finally:
            tell(TrainingEnded(run=run.name, outcome=outcome, reason=reason, ts_init_ns=time.time_ns()))
            if run.writes:
                write_report(run.folder)
    return releases


class Live:
    """One line of figures beside the bar."""

    def __init__(self, show: OnProgress) -> None:
        self._show = show
        self._label, self._share, self._figures = "", 0.0, ""

    def progress(self, label: str, share: float) -> None:
        """A stage and the share of everything that is done."""
        if label != self._label:
            self._label, self._figures = label, ""
        self._share = share
        self._show(f"{self._label} {self._figures}".rstrip(), self._share)

    def told(self, record: Mapping[str, Any]) -> None:
        """Figures of a step or an epoch."""
        if record.get("kind") not in {"step", "epoch"}:
            return
        words = [f"epoch {record['epoch']}/{record['epochs']} step {record['step']:,}"]
        words += [
            form.format(record[name])
            for name, form in (
                ("loss", "loss {:.4f}"),
                ("train_loss", "loss {:.4f}"),
                ("validation_loss", "validation {:.4f}"),
                ("rate", "rate {:.2g}"),
                ("samples_per_s", "{:,.0f} samples/s"),
                ("left_s", "{:,.0f} s left"),
                ("gpu_pct", "gpu {:.0f} %"),
                ("memory_mb", "{:,.0f} MiB"),
                ("gpu_c", "{:.0f} °C"),
                ("gpu_w", "{:.0f} W"),
            )
            if name in record
        ]
        self._figures = " ".join(words)
        self._show(f"{self._label} {self._figures}".lstrip(), self._share)


def train_with_bar(
    state: State,
    config: Config,
    data: MarketData,
    *,
    seed: int,
    console: Console,
    quiet: bool,
    stage: bool = False,
) -> list[Release]:
    """`train` with a progress bar."""
    if quiet:
        return train(state, config, data, seed=seed, stage=stage)
    with progress_bar("training", console) as told:
        return train(state, config, data, seed=seed, stage=stage, on_progress=told)


def handed_config() -> Config | None:
    """The configuration that the parent hands over on standard input; None = it was stopped before it had said all."""
    try:
        return msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return None


def leave(_signal: int, _frame: object) -> None:
    """Leave at once, restoring the terminal. Not with KeyboardInterrupt: scikit-learn would go on and publish."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _leaving.set()
    raise SystemExit(STOPPED)


def _main() -> int:
    signal.signal(signal.SIGTERM, leave)
    folder, seed, show = sys.argv[1:4]
    console = Console(stderr=True)
    try:
        from daemon.app import load_data

        config = handed_config()
        if config is None:
            return STOPPED  # the parent says so itself
        state = State(Path(folder))
        train_with_bar(state, config, load_data(config), seed=int(seed), console=console, quiet=show == "quiet")
    except TradingError as error:
        console.print(f"training: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
