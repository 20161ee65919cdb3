"""Studies of numbered trials: what is tried next, what came of it, and nothing tried twice. Neutral to what is tried.

A study has a name, a kind and a space; a trial has parameters, and at its end values (less is better) and attributes.
Searches of training settings are studies of the kind `training`. A search of a strategy's settings by backtests is one
of another kind in the same database: it opens a `Study` with its own space, takes one `Attempt` after another, runs the
backtest, and completes the attempt with what it wants less of (a negated Sharpe ratio, a drawdown), with the figures of
its report as attributes; `Study.trials` then gives the number of trials that a deflated Sharpe ratio has to know.

Theory of operation. Optuna (`optuna`, imported here and in `adapters.store.trials` alone) chooses values and keeps
trials. What it leaves open for processes that share a study, or die, is settled here, all of it within the store's one
claim: the count of trials is exact, since finished and running ones are counted before another begins; a trial whose
process is dead becomes failed, and its parameters a new trial, three times at most; and every trial has random numbers
of its own, from the study's seed and the number of fresh trials before it. So one process gives the same trials for the
same seed whether it was killed or not, and two processes with one seed do not walk side by side.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, cast

import msgspec
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from adapters.store.trials import TrialStore
from bus.errors import ConfigError
from models.learning import Pruned
from models.searching import Pruner, Sampler
from models.space import Dimension, Real, Space, Value, Whole

DEATHS = 3
"""Times that a trial may take its process with it before it counts as failed."""

_POLL_S = 0.2
_BEGUN_WITH, _KIND = "begun_with", "kind"
_WORKER, _RETRY_OF, _DEATHS, _REASON, _DEFAULTS = "worker", "retry_of", "deaths", "reason", "defaults"
_OURS = frozenset({_WORKER, _RETRY_OF, _DEATHS, _REASON, _DEFAULTS})
_ENOUGH = (TrialState.COMPLETE, TrialState.PRUNED)

State = Literal["waiting", "running", "complete", "pruned", "failed", "died"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial as it stands.

    Attributes:
        number: in the order of their beginnings, from 0.
        state: failed = what it tried cannot be, and `reason` says why; died = its process did, and the parameters were
            tried again under another number.
        values: one an objective, of a complete trial.
        attributes: what was told of it besides.
        defaults: whether it is the one that tries what would be taken without a search.
        steps: how often it reported.
        seconds: from beginning to end.
    """

    number: int
    state: State
    parameters: dict[str, Value]
    values: tuple[float, ...] = ()
    attributes: dict[str, Any] = {}
    defaults: bool = False
    reason: str = ""
    steps: int = 0
    seconds: float = 0.0


class Attempt:
    """A trial that this process runs. Ends with one of `complete`, `prune`, `fail` and `give_back`."""

    def __init__(self, study: "Study", trial: optuna.Trial, parameters: dict[str, Value]) -> None:
        self._study, self._trial = study, trial
        self.number = trial.number
        self.parameters = parameters
        self.defaults = bool(trial.user_attrs.get(_DEFAULTS))

    def report(self, step: int, value: float) -> None:
        """Tell how far it is, for the pruner; steps ascend.

        Raises:
            Pruned: others were further, and it is not worth its end.
        """
        if not self._study.prunes:
            return
        with self._study.words():
            self._trial.report(value, step)
            pruned = self._trial.should_prune()
        if pruned:
            raise Pruned(f"trial {self.number} was pruned at step {step}")

    def complete(self, values: Sequence[float], attributes: Mapping[str, Any]) -> bool:
        """Keep what came of it; whether it still was this process's to tell."""
        return self._end(TrialState.COMPLETE, dict(attributes), list(values))

    def prune(self) -> bool:
        """End it early; as `complete`."""
        return self._end(TrialState.PRUNED, {})

    def fail(self, reason: str) -> bool:
        """These parameters cannot be; as `complete`."""
        return self._end(TrialState.FAIL, {_REASON: reason})

    def give_back(self) -> None:
        """This process stops: the parameters wait for another one, or for the same command."""
        with self._study.words(), self._study.store.claim():
            if self._mine():
                self._study.retry(self._trial.number, again=True)

    def _end(self, state: TrialState, attributes: dict[str, Any], values: list[float] | None = None) -> bool:
        with self._study.words(), self._study.store.claim():
            if not self._mine():
                return False
            for name, value in attributes.items():
                self._trial.set_user_attr(name, value)
            self._study.tell(self._trial.number, state, values)
        return True

    def _mine(self) -> bool:
        """Whether nobody took this process for dead meanwhile (the database was away, and came back)."""
        return self._study.state_of(self.number) is TrialState.RUNNING


class Study:
    """One study, open for this process."""

    def __init__(
        self,
        store: TrialStore,
        name: str,
        *,
        kind: str,
        space: Space,
        begun_with: Mapping[str, Any],
        defaults: Mapping[str, Value] | None,
        objectives: int = 1,
        seed: int = 0,
        sampler: Sampler = "tpe",
        pruner: Pruner = "none",
        grid_points: int = 3,
        longest: int = 1,
    ) -> None:
        """Open it, or make it.

        Args:
            store: where.
            name: of the study.
            kind: of what is tried.
            space: what may be chosen.
            begun_with: everything else that its trials depend on, as JSON can say it. One with other facts is another
                study.
            defaults: a first trial of exactly these parameters; None = none.
            objectives: values that a trial ends with.
            seed: of every choice.
            sampler: which values are tried next.
            pruner: which trials are not worth their end; none for several objectives.
            grid_points: values a numeric parameter, for the sampler `grid`.
            longest: steps that a trial may report.

        Raises:
            ConfigError: there is one of this name that was begun with other facts.
            DataError: the database does not take it.
        """
        self.store = store
        self.name = name
        self.space = space
        self.prunes = pruner != "none"
        self._sampler, self._seed = sampler, seed
        self._grid = {dimension.name: list(dimension.grid(grid_points)) for dimension in space}
        self._distributions = {dimension.name: _distribution(dimension) for dimension in space}
        facts = msgspec.json.decode(msgspec.json.encode(begun_with))
        with self.words(), store.claim(), _quiet():
            there = name in optuna.get_all_study_names(store.storage)
            self._study = optuna.create_study(
                storage=store.storage,
                study_name=name,
                directions=[optuna.study.StudyDirection.MINIMIZE] * objectives,
                sampler=optuna.samplers.RandomSampler(seed=seed),
                pruner=_pruner(pruner, longest),
                load_if_exists=True,
            )
            if not there:
                self._study.set_user_attr(_KIND, kind)
                self._study.set_user_attr(_BEGUN_WITH, facts)
                if defaults is not None:
                    self._await(dict(defaults), {_DEFAULTS: True})
            self._check(kind, facts)

    def words(self) -> AbstractContextManager[None]:
        """The database's errors as ours."""
        return self.store.words()

    def _check(self, kind: str, facts: dict[str, Any]) -> None:
        kept: dict[str, Any] = self._study.user_attrs.get(_BEGUN_WITH, {})
        other = sorted(key for key in facts.keys() | kept.keys() if facts.get(key) != kept.get(key))
        found = self._study.user_attrs.get(_KIND, "")
        if found != kind:
            raise ConfigError(f"study {self.name} is of kind {found or 'unknown'!r}, not {kind!r}; name another one")
        if other:
            raise ConfigError(
                f"study {self.name} was begun with other {', '.join(other)}; give those again, or name another study"
            )

    # --- what is next ------------------------------------------------------------------------------------------------

    def next(self, trials: int, wait: Callable[[], bool] = lambda: True) -> Attempt | None:
        """The next trial of this process, or None where the study has as many finished ones as it is to have.

        Args:
            trials: that the study is to have.
            wait: asked while all that is missing is run by others, who may still die, whether to go on waiting; where
                it is not, None is given back.

        Raises:
            DataError: the database is gone.
        """
        most = min(trials, self.size) if self._sampler == "grid" else trials
        while True:
            with self.words(), self.store.claim(), _quiet():
                self._bury()
                all_of = self._study.get_trials(deepcopy=False)
                finished = sum(_counts(each) for each in all_of)
                if finished >= most:
                    return None
                if finished + sum(each.state is TrialState.RUNNING for each in all_of) < most:
                    return self._begin(all_of)
            if not wait():
                return None
            time.sleep(_POLL_S)

    @property
    def size(self) -> int:
        """Trials that the whole grid needs, the defaults included."""
        size = 1
        for values in self._grid.values():
            size *= len(values)
        return size + 1

    def _begin(self, all_of: Sequence[FrozenTrial]) -> Attempt:
        if not any(each.state is TrialState.WAITING for each in all_of):
            fresh = sum(bool(_fixed(each)) and _RETRY_OF not in each.user_attrs for each in all_of)
            self._study.sampler = self._sampler_of(fresh)
            self._await(None, {})
        trial = self._study.ask()
        trial.set_user_attr(_WORKER, self.store.worker)
        parameters = {name: _suggested(trial, name, each) for name, each in self._distributions.items()}
        return Attempt(self, trial, parameters)

    def _await(self, parameters: dict[str, Value] | None, told: dict[str, Any]) -> None:
        """Let a trial wait that has its worker from its first moment on: so it can be buried, whenever that one dies.

        Args:
            parameters: fixed ones; None = the sampler's.
            told: attributes.
        """
        system = {} if parameters is None else {"fixed_params": parameters}
        attributes = {_WORKER: self.store.worker, **told}
        waiting = optuna.create_trial(state=TrialState.WAITING, system_attrs=system, user_attrs=attributes)
        self._study.add_trial(waiting)

    def _sampler_of(self, fresh: int) -> optuna.samplers.BaseSampler:
        seed = int.from_bytes(hashlib.blake2b(f"{self._seed} {fresh}".encode(), digest_size=4).digest(), "big")
        if self._sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self._sampler == "grid":
            return _Grid(self._grid, seed=self._seed)
        if self._sampler == "qmc":  # one sequence, whoever takes its next point
            return optuna.samplers.QMCSampler(scramble=True, seed=self._seed, warn_independent_sampling=False)
        if self._sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=20, seed=seed)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    # --- ends --------------------------------------------------------------------------------------------------------

    def _bury(self) -> None:
        """Trials whose process is dead become failed, and what they tried waits again."""
        for each in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self.store.alive(str(each.user_attrs.get(_WORKER, ""))):
                self.retry(each.number, again=each.user_attrs.get(_DEATHS, 0) + 1 < DEATHS, deadly=True)

    def retry(self, number: int, *, again: bool, deadly: bool = False) -> None:
        """End a trial that did not end by itself. Within a claim.

        Args:
            number: of the trial.
            again: whether another one tries the same.
            deadly: whether it may have taken its process with it.
        """
        trial = self._study.get_trials(deepcopy=False)[number]
        deaths = int(trial.user_attrs.get(_DEATHS, 0)) + deadly
        if not again:
            self._set(number, _REASON, f"its process died {deaths} times")
        self.tell(number, TrialState.FAIL, None)
        if again and _fixed(trial):
            told = {_RETRY_OF: trial.user_attrs.get(_RETRY_OF, number), _DEATHS: deaths}
            if trial.user_attrs.get(_DEFAULTS):
                told[_DEFAULTS] = True
            self._await(_fixed(trial), told)

    def _set(self, number: int, name: str, value: str) -> None:
        storage = self.store.storage
        study = storage.get_study_id_from_name(self.name)
        storage.set_trial_user_attr(storage.get_trial_id_from_study_id_trial_number(study, number), name, value)

    def tell(self, number: int, state: TrialState, values: list[float] | None) -> None:
        """Within a claim."""
        with _quiet():
            self._study.tell(number, values, state)

    def state_of(self, number: int) -> TrialState:
        """Of a trial, as the database has it."""
        return self._study.get_trials(deepcopy=False)[number].state

    # --- what came of it ---------------------------------------------------------------------------------------------

    def trials(self) -> list[Trial]:
        """Every trial in the order of numbers."""
        with self.words():
            return [_told(each) for each in self._study.get_trials(deepcopy=False)]

    def front(self) -> list[int]:
        """Numbers of the complete trials that no other one beats in every objective."""
        with self.words():
            return sorted(trial.number for trial in self._study.best_trials)


class _Grid(optuna.samplers.GridSampler):
    """Optuna's, which would end its own loop where the grid is exhausted; here `Study.next` counts."""

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing is left to do."""


@contextmanager
def _quiet() -> Generator[None]:
    """Optuna calls some of its parts experimental at every use; this release is pinned by the lock."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Real):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, Whole):
        return IntDistribution(dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    return CategoricalDistribution(dimension.choices)


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Value:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    return cast("Value", trial.suggest_categorical(name, cast(CategoricalDistribution, distribution).choices))


def _pruner(name: Pruner, longest: int) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(longest, 1), reduction_factor=3)
    if name == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()


def _fixed(trial: FrozenTrial) -> dict[str, Value]:
    """What a trial tries or was to try; empty where its process died before anything was chosen."""
    return dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {}))


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in _ENOUGH or (trial.state is TrialState.FAIL and _REASON in trial.user_attrs)


def _told(trial: FrozenTrial) -> Trial:
    reason = str(trial.user_attrs.get(_REASON, ""))
    state: State = "failed" if reason else "died"
    if trial.state is not TrialState.FAIL:
        state = cast(State, trial.state.name.lower())
    return Trial(
        number=trial.number,
        state=state,
        parameters=dict(trial.params),
        values=tuple(trial.values or ()) if state == "complete" else (),
        attributes={name: value for name, value in trial.user_attrs.items() if name not in _OURS},
        defaults=bool(trial.user_attrs.get(_DEFAULTS)),
        reason=reason,
        steps=len(trial.intermediate_values),
        seconds=0.0 if trial.duration is None else trial.duration.total_seconds(),
    )
