"""What is measured about models: coverage of their intervals, drift, and whether they answer.

Theory of operation. Coverage is counted here from resolved forecasts, with the tracker that the core sizes by. What
another room announces itself is taken as it is: a message type of the union whose name begins with ``Coverage`` or
``Drift`` needs no line here. It names its subject by `symbol`, `model_id`, `horizon` and `measure`, as far as it has
them; its `state` is ``ok`` when all is well, ``blocked`` when nothing new is risked on it, and anything else between;
`value` and `limit` say what was measured. From the first such message on nothing is counted here any more.
"""

import typing
from collections.abc import Iterable
from typing import Any

from bus.messages import AnyMessage, CalibratedForecast, ForecastMissed, ForecastResolved, ModelAdmitted
from risk.alerts.rule import Context, Reading, Rule
from risk.coverage import CoverageState, CoverageTracker

CLEAR_AFTER = 20
"""Outcomes in a row with which coverage is in keeping again before its alert is over."""

_FINE = frozenset({"ok", "stable"})
_UNSAID = frozenset({"unmeasured"})


def announced(prefix: str) -> tuple[type[Any], ...]:
    """The message types whose name begins so."""
    return tuple(kind for kind in typing.get_args(AnyMessage) if kind.__name__.startswith(prefix))


def state_reading(message: Any, states: frozenset[str] | None = None) -> Reading:
    """What an announced state says.

    Args:
        message: has `state`, and names its subject.
        states: those that are a breach; None = all but the good ones.
    """
    state = str(getattr(message, "state", "")).lower()
    parts = [str(getattr(message, name, "")) for name in ("symbol", "model_id", "measure")]
    horizon = getattr(message, "horizon", 0)
    subject = " ".join([*filter(None, parts), *([f"h{horizon}"] if horizon else [])]) or type(message).__name__
    bad = state not in _FINE if states is None else state in states
    return Reading(
        subject=subject,
        breached=None if state in _UNSAID else bad,
        words=lambda: (
            " ".join(filter(None, (state, str(getattr(message, "value", ""))))),
            str(getattr(message, "limit", "")) or "ok",
        ),
    )


class Coverage:
    """The intervals that are traded on do not cover what they promise."""

    name = "coverage"
    severity = "warning"
    why = "The intervals that are traded on cover less than they promise, by more than luck explains."
    advice = "entries are made smaller by themselves; train and calibrate anew if it lasts"

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        self._announced = announced("Coverage") if hears is None else hears
        self.hears: tuple[type[Any], ...] = (ForecastResolved, ModelAdmitted, *self._announced)
        self._counts = True
        self._trackers: dict[tuple[str, str, int], CoverageTracker] = {}
        self._good: dict[str, int] = {}

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Count an outcome of the model that trades, or take a state as it is announced."""
        if isinstance(message, self._announced):
            self._counts = False
            return (state_reading(message),)
        if not self._counts:
            return ()
        if isinstance(message, ModelAdmitted):  # counted anew: outcomes of two admissions are not one sample
            for horizon in message.horizons:
                self._trackers.pop((message.symbol, message.model_id, horizon), None)
            return ()
        return self._count(message)

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


class CoverageBlocked:
    """Nothing new is risked on a model, because its intervals do not cover."""

    name = "coverage_blocked"
    severity = "critical"
    why = "Measured coverage is so low that nothing new is risked on the model."
    advice = "train and calibrate anew, or roll back (`plimsoll models rollback`)"

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        self.hears: tuple[type[Any], ...] = announced("Coverage") if hears is None else hears

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Take a state as it is announced."""
        yield state_reading(message, frozenset({"blocked"}))


class Drift:
    """What a model sees, or does, is not what it was trained on."""

    name = "drift"
    severity = "warning"
    why = "Performance, data or spectrum of a model have moved away from what it was made on."
    advice = "train anew on newer data, and look at the regime before trusting the model"

    def __init__(self, hears: tuple[type[Any], ...] | None = None) -> None:
        self.hears: tuple[type[Any], ...] = announced("Drift") if hears is None else hears

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Take a state as it is announced."""
        yield state_reading(message)


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


RULES: tuple[type[Rule], ...] = (Coverage, CoverageBlocked, Drift, ForecastsMissing)
