"""A search of one network's settings: trials until there are enough, then what came of it, told honestly.

    STATE/searches/NAME/
        search.toml      the best settings, as `plimsoll train --config` takes them
        report.json      every figure
        report.html      the same on one page
        log.txt          one line a trial

Theory of operation. What a study is made of (network, bars, horizons, parts, seed, space, base settings) stands in the
study itself and in its name, so the same command goes on where it was, and another one begins another study. The first
trial is what `plimsoll train` would do without a search. Ctrl-C and SIGTERM give the trial in progress back; a process
that is killed is found dead by the next one (`daemon.research.trials`). When the study has its trials, the best is
trained once more beside the defaults and asked on the later part, which no trial has seen.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from adapters.store.trials import TrialStore
from bus.calendar import to_datetime
from bus.errors import ConfigError, ModelError
from daemon.config import Config, store_url
from daemon.marketdata import MarketData
from daemon.research.trials import Attempt, Study, Trial
from daemon.searchreport import Entry, SearchReport, snippet, verdict, write
from daemon.state import State
from models.catalogue import check_installed
from models.contract import Net, space_of
from models.learning import Learning, Pruned
from models.nets import architectures
from models.performance import luckiest_sharpe
from models.space import Space, Value, divided
from models.train.data import data_sha256
from models.train.judging import Gain, Ground, forecast_us, gain, ground, learnt, losses

OnProgress = Callable[[str, float], None]

_SHOWN = 5
_LARGEST_EPOCHS = 60
"""What `Problem.epochs` is where nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched, for whom, from where.

    Attributes:
        space: what is tried; a part of the network's.
        defaults: values of all of it, as configured.
        name: of the study.
        facts: everything that its trials depend on.
    """

    model: str
    net: Net
    space: Space
    defaults: dict[str, Value]
    name: str
    facts: dict[str, Any]
    storage: str


def searched(model: str, names: Sequence[str] = ()) -> tuple[Net, Space]:
    """A network and what is searched of it.

    Raises:
        ConfigError: there is no such network, it forecasts nothing, has nothing to search, or not these parameters.
        ModelError: it is not known.
    """
    net = architectures([model])[model]
    space = space_of(net)
    if net.task != "forecast" or not space:
        raise ConfigError(f"{model} has nothing to search; choose a forecaster with parameters, such as tcn or ridge")
    unknown = [name for name in names if name not in {each.name for each in space}]
    if unknown:
        raise ConfigError(
            f"search.parameters: {model} has no {', '.join(unknown)}; it has {', '.join(each.name for each in space)}"
        )
    return net, tuple(each for each in space if not names or each.name in names)


def planned(config: Config, data: MarketData, model: str) -> Plan:
    """Everything about a search before its first trial.

    Raises:
        ConfigError: a network without a space, or configured values outside of it.
    """
    net, space = searched(model, config.search.parameters)
    own = config.models.parameters.get(model, {})
    training: dict[str, Any] = msgspec.to_builtins(config.training)
    defaults: dict[str, Value] = {}
    for dimension in space:
        if dimension.section == "parameters":
            value = own.get(dimension.name, dimension.default)
        else:  # 0 leaves it to the network, whose own value is the dimension's default
            value = training[dimension.name] or dimension.default
        try:
            defaults[dimension.name] = dimension.check(value)
        except ConfigError as error:
            section = f"models.parameters.{model}" if dimension.section == "parameters" else "training"
            raise ConfigError(f"{section}.{error}, or leave it out of the search with search.parameters") from None
    settings = config.search
    facts: dict[str, Any] = {
        "model": model,
        "symbols": [each.symbol for each in data.symbols],
        "data": [data_sha256(each.train(data.split)) for each in data.symbols],
        "horizons": list(config.forecast.horizons),
        "parts": [settings.judge_pct, settings.later_pct],
        "objective": settings.objective,
        "seed": config.models.seed,
        "space": msgspec.to_builtins(space),
        "defaults": defaults,
        "parameters": {name: value for name, value in own.items() if name not in defaults},
        "training": {name: value for name, value in training.items() if name not in defaults},
    }
    digest = hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:8]
    symbols = "-".join(facts["symbols"]) if len(data.symbols) <= 3 else f"{len(data.symbols)}symbols"
    return Plan(
        model=model,
        net=net,
        space=space,
        defaults=defaults,
        name=settings.study or f"{model}-{symbols}-{digest}",
        facts=facts,
        storage=settings.storage or store_url(config),
    )


class Searching:
    """One search in this process."""

    def __init__(self, config: Config, data: MarketData, plan: Plan, state: State) -> None:
        self.config, self.data, self.plan = config, data, plan
        self.folder = state.folder / "searches" / plan.name
        self.grounds: tuple[Ground, ...] = ()
        self._best = float("nan")

    def run(self, told: OnProgress, say: Callable[[str], None]) -> SearchReport:
        """Try until the study has its trials or the time is up, then report.

        Args:
            told: a stage, and the share of all trials that are done.
            say: one line a finished trial.

        Raises:
            ConfigError: a study of this name that was begun with other facts, a database that cannot be used.
            ModelError: a package that is not installed; no trial came to an end.
            DataError: too few bars; the database is gone.
        """
        config, plan, settings = self.config, self.plan, self.config.search
        check_installed([plan.model])
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.grounds = tuple(
            ground(each.train(self.data.split), plan.net, config.forecast.horizons, judge_pct=settings.judge_pct,
                   later_pct=settings.later_pct)
            for each in self.data.symbols
        )  # fmt: skip
        with TrialStore.open(plan.storage) as store:
            study = Study(
                store, plan.name, kind="training", space=plan.space, begun_with=plan.facts, defaults=plan.defaults,
                objectives=1 if settings.objective == "crps" else 2, seed=config.models.seed,
                sampler=settings.sampler, pruner=settings.pruning(plan.model), grid_points=settings.grid_points,
                longest=config.training.epochs or _LARGEST_EPOCHS,
            )  # fmt: skip
            ends_s = time.monotonic() + settings.timeout_s if settings.timeout_s else float("inf")
            late = False

            def wait() -> bool:
                nonlocal late
                told("waiting for trials of other processes", 1.0)
                late = time.monotonic() >= ends_s
                return not late

            while not (late := time.monotonic() >= ends_s):
                attempt = study.next(settings.trials, wait)
                if attempt is None:
                    break
                self._try(attempt, told, say)
            stopped = f"the time of {settings.timeout_s:g} s was up" if late else ""
            told("training the best once more", 1.0)
            report = self._conclude(study, stopped, store.url)
            with store.claim():  # of several processes that come to the end, one writes at a time
                write(self.folder, report, snippet(config, plan.model, plan.space, report.best))
        return report

    # --- a trial -----------------------------------------------------------------------------------------------------

    def _try(self, attempt: Attempt, told: OnProgress, say: Callable[[str], None]) -> None:
        label = f"trial {attempt.number}"
        share = min(1.0, attempt.number / self.config.search.trials)
        told(f"{label}{self._so_far}", share)

        def report(epoch: int, loss: float) -> None:
            told(f"{label} epoch {epoch} loss {loss:.4f}{self._so_far}", share)
            attempt.report(epoch, loss)

        start = time.monotonic()
        try:
            values, figures = self._judged(attempt.parameters, report)
        except Pruned as pruned:
            kept, came = attempt.prune(), str(pruned).rpartition(" was ")[2]
        except ModelError as error:
            kept, came = attempt.fail(str(error)), str(error)
        except BaseException:
            attempt.give_back()
            raise
        else:
            kept, came = attempt.complete(values, figures), f"{100.0 * (1.0 - values[0]):+.4f} %"
            self._best = min(values[0], self._best) if self._best == self._best else values[0]
        if not kept:
            came = "this process was taken for dead meanwhile; another one tries it again"
        line = f"{label}: {came}, {_shown(attempt.parameters)}, {time.monotonic() - start:.1f} s"
        stamp = f"{to_datetime(time.time_ns()):%Y-%m-%d %H:%M:%S}"
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")
        say(line)

    @property
    def _so_far(self) -> str:
        return "" if self._best != self._best else f", best {100.0 * (1.0 - self._best):+.4f} %"

    def _judged(
        self, parameters: Mapping[str, Value], report: Callable[[int, float], None]
    ) -> tuple[list[float], dict[str, Any]]:
        """Values of a trial, and its figures; the first market's epochs are told to the pruner."""
        mine: list[Any] = []
        walks: list[Any] = []
        spent_us: list[float] = []
        for index, where in enumerate(self.grounds):
            pipeline = self._learnt(where, parameters, report if index == 0 else _unheard)
            mine.append(losses(pipeline, where.judged))
            walks.append(losses(None, where.judged))
            if self.config.search.objective != "crps":
                spent_us.append(forecast_us(pipeline, where.judged))
        found = gain(mine, walks, walks, [where.ahead for where in self.grounds])
        if not np.isfinite(found.pct):
            raise ModelError("its forecasts are not finite")
        values = [1.0 - found.pct / 100.0, *([float(np.mean(spent_us))] if spent_us else [])]
        return values, {
            "gain_pct": round(found.pct, 6),
            "error_pct": round(found.error_pct, 6),
            "rows": found.rows,
            "crps": [round(float(each.mean()), 9) for each in mine],
            "random_walk_crps": [round(float(each.mean()), 9) for each in walks],
        }

    def _learnt(
        self, where: Ground, parameters: Mapping[str, Value], report: Callable[[int, float], None] | None = None
    ) -> Any:
        own, training = divided(self.plan.space, parameters)
        fixed = self.config.models.parameters.get(self.plan.model, {})
        learning: Learning = msgspec.structs.replace(self.config.training, **training)
        return learnt(
            where, self.plan.net, {**fixed, **own}, seed=self.config.models.seed, learning=learning,
            report=report or _unheard,
        )  # fmt: skip

    # --- what came of it ---------------------------------------------------------------------------------------------

    def _conclude(self, study: Study, stopped: str, url: str) -> SearchReport:
        trials = study.trials()
        complete = [each for each in trials if each.state == "complete"]
        if not complete:
            raise ModelError(
                f"no trial of study {self.plan.name} came to an end{f' before {stopped}' if stopped else ''}; "
                f"{next((each.reason for each in reversed(trials) if each.reason), 'give it more time')}"
            )
        ranked = sorted(complete, key=lambda each: (each.values[0], each.number))
        front = set(study.front()) if self.config.search.objective != "crps" else set[int]()
        first = next((each for each in complete if each.defaults), None)
        best = ranked[0]
        entries = [_entry("best" if each is best else "", each, front) for each in ranked[:_SHOWN]]
        entries += [_entry("", each, front) for each in ranked[_SHOWN:] if each.number in front]
        if first is not None and all(each.number != first.number for each in entries):
            entries.append(_entry("", first, front))
        later, over_defaults, judged_over_defaults = self._later(best)
        attempts = sum(each.state in {"complete", "pruned", "failed"} for each in trials)
        values = np.array([100.0 * (1.0 - each.values[0]) for each in complete])
        report = SearchReport(
            study=self.plan.name,
            model=self.plan.model,
            symbols=tuple(where.symbol for where in self.grounds),
            horizons=self.config.forecast.horizons,
            storage=url,
            sampler=self.config.search.sampler,
            pruner=self.config.search.pruning(self.plan.model),
            seed=self.config.models.seed,
            stopped=stopped,
            attempts=attempts,
            complete=len(complete),
            pruned=sum(each.state == "pruned" for each in trials),
            failed=sum(each.state == "failed" for each in trials),
            died=sum(each.state == "died" for each in trials),
            rows={"judged": sum(len(each.judged) for each in self.grounds),
                  "later": sum(len(each.later) for each in self.grounds)},
            best=best.parameters,
            defaults=self.plan.defaults,
            entries=tuple(entries),
            mean_pct=round(float(values.mean()), 6),
            luck_pct=round(luckiest_sharpe(float(values.var(ddof=1)) if len(values) > 1 else 0.0, attempts), 6),
            judged_over_defaults=judged_over_defaults,
            later=later,
            later_over_defaults=over_defaults,
            trials=tuple(trials),
        )  # fmt: skip
        return msgspec.structs.replace(report, verdict=verdict(report))

    def _later(self, best: Trial) -> tuple[dict[str, Gain], Gain, Gain]:
        """The best and the defaults, trained once more, on the later rows and on the judged ones.

        Returns:
            Gains over the random walk on the later rows by name; the best's over the defaults there, and on the judged
            rows.
        """
        ahead = [where.ahead for where in self.grounds]
        found = [self._learnt(where, best.parameters) for where in self.grounds]
        usual = found
        if best.parameters != self.plan.defaults:
            usual = [self._learnt(where, self.plan.defaults) for where in self.grounds]

        def on(part: str) -> tuple[list[Any], list[Any], list[Any]]:
            rows = [getattr(where, part) for where in self.grounds]
            return (
                [losses(each, at) for each, at in zip(found, rows, strict=True)],
                [losses(each, at) for each, at in zip(usual, rows, strict=True)],
                [losses(None, at) for at in rows],
            )

        mine, theirs, walk = on("later")
        gains = {"best": gain(mine, walk, walk, ahead), "defaults": gain(theirs, walk, walk, ahead)}
        judged = on("judged")
        return gains, gain(mine, theirs, walk, ahead), gain(judged[0], judged[1], judged[2], ahead)


def _entry(role: str, trial: Trial, front: set[int]) -> Entry:
    names = [role, "defaults" if trial.defaults else "", "Pareto" if trial.number in front else ""]
    return Entry(
        number=trial.number,
        role=", ".join(name for name in names if name),
        gain_pct=trial.attributes["gain_pct"],
        error_pct=trial.attributes["error_pct"],
        forecast_us=trial.values[1] if len(trial.values) > 1 else None,
        parameters=trial.parameters,
    )


def _shown(parameters: Mapping[str, Value]) -> str:
    words = {name: f"{each:.4g}" if isinstance(each, float) else str(each) for name, each in parameters.items()}
    return " ".join(f"{name}={word}" for name, word in words.items())


def _unheard(_epoch: int, _loss: float) -> None:
    """Nobody prunes it."""
