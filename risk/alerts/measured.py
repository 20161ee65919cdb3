"""What is measured about models: coverage of their intervals, drift, gates, and whether they answer.

Theory of operation. What another room announces is taken as it is: a message type of the union whose name begins with
``Coverage``, ``Drift`` or ``Gate`` is heard without a line here. It names its subject by `symbol`, `model_id`, `kind`,
`gate` and `horizon`, as far as it has them; `after` is the state from now on: ``ok`` when all is well, ``unmeasured``
when nothing is known, ``blocked``, ``block`` or ``closed`` when nothing new is risked, and anything else between;
`reason` says what was measured. Only what concerns the model that trades (`active`) is told; what was told of a model
is over when another takes its place. Until coverage is announced for the first time, it is counted here from resolved
forecasts, with the tracker that the core sizes by.
"""

import typing
from collections.abc import Iterable
from typing import Any

from bus.messages import (
    AnyMessage,
    CalibratedForecast,
    ForecastMissed,
    ForecastResolved,
    ModelAdmitted,
    ModelPromoted,
    ModelRolledBack,
)
from risk.alerts.rule import Context, Reading, Rule
from risk.coverage import CoverageState, CoverageTracker

CLEAR_AFTER = 20
"""Outcomes in a row with which coverage is in keeping again before its alert is over."""

_FINE, _UNSAID, _SHUT = frozenset({"ok"}), frozenset({"unmeasured"}), frozenset({"blocked", "block", "closed"})
_SWAPS = (ModelPromoted, ModelRolledBack)
_NAMES = ("symbol", "model_id", "kind", "gate")


def announced(prefix: str) -> tuple[type[Any], ...]:
    """The message types whose name begins so."""
    return tuple(kind for kind in typing.get_args(AnyMessage) if kind.__name__.startswith(prefix))


class Announced:
    """Takes states as they are announced; `states` are those that are a breach, None = all but the good ones."""

    hears: tuple[type[Any], ...]
    states: frozenset[str] | None = None

    def __init__(self, prefix: str, hears: tuple[type[Any], ...] | None = None) -> None:
        self.announced = announced(prefix) if hears is None else hears
        self.hears = (*self.announced, *_SWAPS)
        self._told: dict[str, tuple[str, str]] = {}

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """One reading of a state, or the end of all that was told of a model that trades no more."""
        if isinstance(message, _SWAPS):
            gone = [each for each, of in self._told.items() if of == (message.symbol, message.replaced)]
            for subject in gone:
                del self._told[subject]
                yield Reading(subject=subject, breached=False, words=lambda: ("another model trades", ""))
            return
        parts = [str(getattr(message, name, "")) for name in _NAMES]
        horizon: int = getattr(message, "horizon", 0)
        subject = " ".join([*filter(None, parts), *([f"h{horizon}"] if horizon else [])]) or type(message).__name__
        state = str(message.after).lower()
        bad = state not in _FINE if self.states is None else state in self.states
        breached = None if state in _UNSAID else bad
        if breached and not getattr(message, "active", True):
            breached = None
        if breached:
            self._told[subject] = (getattr(message, "symbol", ""), getattr(message, "model_id", ""))
        words = (f"{state}: {getattr(message, 'reason', '')}".removesuffix(": "), "ok")
        yield Reading(subject=subject, breached=breached, words=lambda: words)


class Coverage(Announced):
    """The intervals that are traded on do not cover what they promise."""

    name = "coverage"
    severity = "warning"
    why = "The intervals that are traded on cover less than they promise, by more than luck explains."
    advice = "entries are made smaller by themselves; train and calibrate anew if it lasts"

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        super().__init__("Coverage", hears)
        self.hears = (*self.hears, ForecastResolved, ModelAdmitted)
        self._counts = True
        self._trackers: dict[tuple[str, str, int], CoverageTracker] = {}
        self._good: dict[str, int] = {}

    def on(self, message: Any, context: Context) -> Iterable[Reading]:
        """Count an outcome of the model that trades, or take a state as it is announced."""
        if isinstance(message, ForecastResolved):
            return self._count(message) if self._counts else ()
        if isinstance(message, ModelAdmitted):  # counted anew: outcomes of two admissions are not one sample
            for horizon in message.horizons:
                self._trackers.pop((message.symbol, message.model_id, horizon), None)
            return ()
        self._counts = self._counts and not isinstance(message, self.announced)
        return super().on(message, context)

    def _count(self, outcome: ForecastResolved) -> Iterable[Reading]:
        key = (outcome.symbol, outcome.model_id, outcome.horizon)
        tracker = self._trackers.get(key)
        if tracker is None:
            tracker = self._trackers[key] = CoverageTracker(outcome.bands[0].level_ppm)
        tracker.add(covered=outcome.covered[0])
        if not outcome.active:
            return
        subject = f"{outcome.symbol} h{outcome.horizon}"
        state = tracker.state
        good = self._good[subject] = self._good.get(subject, 0) + 1 if state is CoverageState.OK else 0
        fine = False if good >= CLEAR_AFTER else None
        yield Reading(
            subject=subject,
            breached=fine if state in {CoverageState.OK, CoverageState.UNMEASURED} else True,
            words=lambda: (
                f"{tracker.covered} of {tracker.n} covered by {outcome.model_id}: {state}",
                f"{tracker.nominal_ppm / 1e4:.0f} %",
            ),
        )


class CoverageBlocked(Announced):
    """Nothing new is risked on a model, because its intervals do not cover."""

    name = "coverage_blocked"
    severity = "critical"
    why = "Measured coverage is so low that nothing new is risked on the model."
    advice = "train and calibrate anew, or roll back (`plimsoll models rollback`)"
    states = _SHUT

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        super().__init__("Coverage", hears)


class Drift(Announced):
    """What a model sees, or does, is not what it was trained on."""

    name = "drift"
    severity = "warning"
    why = "Performance, data or spectrum of a model have moved away from what it was made on."
    advice = "train anew on newer data, and look at the regime before trusting the model"

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        super().__init__("Drift", hears)


class DriftBlocked(Announced):
    """Nothing new is risked on a model, because it has drifted too far."""

    name = "drift_blocked"
    severity = "critical"
    why = "A model has drifted so far that nothing new is risked on it."
    advice = "train and calibrate anew, or roll back (`plimsoll models rollback`)"
    states = _SHUT

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        super().__init__("Drift", hears)


class Gate(Announced):
    """Another gate of the models lets less risk through: late forecasts, an anomaly, a regime."""

    name = "gate"
    severity = "warning"
    why = "Forecasts that did not come, an anomaly or a regime lets less new risk through."
    advice = "look at the symbol's market and model; it opens by itself"

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        super().__init__("Gate", hears)


class ForecastsMissing:
    """The model that trades does not answer."""

    name = "forecasts"
    severity = "critical"
    why = "For so many bars in a row no forecast came from the model that trades."
    advice = "look at the inference process and the model's latency; nothing is traded without forecasts"
    hears: tuple[type[Any], ...] = (ForecastMissed, CalibratedForecast)

    def __init__(self) -> None:
        self._missed: dict[str, tuple[int, str]] = {}

    def on(self, message: ForecastMissed | CalibratedForecast, context: Context) -> Iterable[Reading]:
        """Count requests that were missed since the last answer of a model that trades."""
        symbol, most = message.symbol, context.settings.missed_forecasts
        if isinstance(message, CalibratedForecast):
            if message.active and self._missed.pop(symbol, None) is not None:
                yield Reading(subject=symbol, breached=False, words=lambda: ("a forecast came", f"{most} bars without"))
            return
        count, last = self._missed.get(symbol, (0, ""))
        if message.request_id != last:
            count += 1
        self._missed[symbol] = (count, message.request_id)
        if count >= most:
            last = f"{count} bars without, the last: {message.reason}"
            yield Reading(subject=symbol, breached=True, words=lambda: (last, f"{most} bars without"))


RULES: tuple[type[Rule], ...] = (Coverage, CoverageBlocked, Drift, DriftBlocked, Gate, ForecastsMissing)
