"""What the core keeps for one symbol: its bars, the forecasts asked for, and whether their intervals told the truth.

Theory of operation. A closed bar moves the index on. A request notes the bar it was asked on; an answer is calibrated
with what had been learnt until it came, and waits under the index of the bar that will bring its truth. When that bar
closes, the interval is held against it, and only then does the calibrator learn: labels are as late as the horizon.
Part of the core's state, and so as pure: no clock, no I/O, equal inputs give equal answers.
"""

from collections.abc import Sequence

import msgspec

from bus.messages import (
    Bar,
    CalibratedForecast,
    CalibratedHorizon,
    Forecast,
    ForecastMissed,
    ForecastRequested,
    ForecastResolved,
    ModelAdmitted,
)
from bus.values import NS_PER_S, Instrument
from models.bars import BarBuilder, BarWindow
from models.conformal import Calibrator, score, step_for
from risk.coverage import CoverageTracker
from risk.marks import possible

LARGEST_ASKED = 64
"""Requests remembered; the oldest gives way, its answer would be late."""


class Counters(msgspec.Struct):
    """What the core met and did not act on.

    `forecasts_unasked` counts answers to no request, of no admitted model, about another bar, or told before.
    """

    forecasts_late: int = 0
    forecasts_unasked: int = 0
    forecasts_impossible: int = 0
    facts_repeated: int = 0
    quotes_unknown: int = 0
    quotes_impossible: int = 0


class _Asked(msgspec.Struct, gc=False):
    """A request in flight, the bar it was asked on, and the models that answered."""

    bar_index: int
    as_of_ns: int
    close_e5: int
    deadline_ns: int
    answered: list[str]


class _Issued(msgspec.Struct, gc=False):
    """An interval whose truth is still to come."""

    model_id: str
    as_of_ns: int
    close_e5: int
    horizon: CalibratedHorizon


class Market:
    """One symbol. `active_model` is the model that trades, empty before one was admitted."""

    __slots__ = ("_calibrators", "_issued", "active_model", "asked", "bar_index", "builder", "counters", "window")

    def __init__(self, instrument: Instrument, period_ns: int, counters: Counters) -> None:
        self.builder = BarBuilder(instrument.symbol, period_ns)
        self.window = BarWindow(instrument.symbol, period_ns)
        self.bar_index = 0
        self.active_model = ""
        self.asked: dict[str, _Asked] = {}
        self.counters = counters
        self._issued: dict[int, list[_Issued]] = {}  # by the index of the bar that brings the truth
        self._calibrators: dict[tuple[str, int], tuple[Calibrator, CoverageTracker]] = {}

    @property
    def has_models(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._calibrators)

    def admit(self, model: ModelAdmitted, levels_ppm: Sequence[int]) -> None:
        """Let a model speak, with a fresh calibrator a horizon: scores of two models are not exchangeable."""
        for horizon, scores in zip(model.horizons, model.scores, strict=True):
            self._calibrators[model.model_id, horizon] = (
                Calibrator(levels_ppm, scores, gamma=step_for(horizon)),
                CoverageTracker(levels_ppm[0]),
            )
        if model.active:
            self.active_model = model.model_id

    def size_multiplier_ppm(self, model_id: str, horizon: int) -> int:
        """How much of its size an intent keeps, from the measured coverage of what it rests on."""
        entry = self._calibrators.get((model_id, horizon))
        return entry[1].size_multiplier_ppm() if entry else 1_000_000

    def close(self, bar: Bar) -> None:
        """Take in a closed bar."""
        self.window.append(bar)
        self.bar_index += 1

    def ask(self, bar: Bar, horizons: tuple[int, ...], deadline_ns: int) -> ForecastRequested:
        """Ask for forecasts from the bars up to this one."""
        request = self.window.request(
            f"{bar.symbol}-{bar.ts_close_ns // NS_PER_S}",
            as_of_ns=bar.ts_close_ns,
            horizons=horizons,
            deadline_ns=deadline_ns,
        )
        if len(self.asked) > LARGEST_ASKED:
            self.asked.pop(next(iter(self.asked)))
        self.asked[request.request_id] = _Asked(self.bar_index, bar.ts_close_ns, bar.close_e5, deadline_ns, [])
        return request

    def answer(self, forecast: Forecast, now_ns: int) -> CalibratedForecast | ForecastMissed | None:
        """Calibrate an answer.

        Returns:
            The calibrated forecast; a miss where it came too late; None where nobody asked for it (counted).
        """
        asked = self.asked.get(forecast.request_id)
        if asked is None or forecast.as_of_ns != asked.as_of_ns or forecast.model_id in asked.answered:
            self.counters.forecasts_unasked += 1
            return None
        asked.answered.append(forecast.model_id)
        if now_ns > asked.deadline_ns:
            self.counters.forecasts_late += 1
            return ForecastMissed(
                request_id=forecast.request_id,
                symbol=forecast.symbol,
                model_id=forecast.model_id,
                reason="late",
                detail=f"{(now_ns - asked.deadline_ns) / 1e6:.0f} ms after the deadline",
                ts_init_ns=now_ns,
            )
        horizons = self._calibrated(forecast, asked)
        if not horizons:
            self.counters.forecasts_unasked += 1
            return None
        for view in horizons:
            issued = _Issued(forecast.model_id, forecast.as_of_ns, asked.close_e5, view)
            self._issued.setdefault(asked.bar_index + view.horizon, []).append(issued)
        return CalibratedForecast(
            request_id=forecast.request_id,
            symbol=forecast.symbol,
            model_id=forecast.model_id,
            active=forecast.model_id == self.active_model,
            as_of_ns=forecast.as_of_ns,
            expires_ns=forecast.expires_ns,
            close_e5=asked.close_e5,
            horizons=horizons,
            ts_init_ns=now_ns,
        )

    def _calibrated(self, forecast: Forecast, asked: _Asked) -> tuple[CalibratedHorizon, ...]:
        horizons: list[CalibratedHorizon] = []
        for view in forecast.horizons:
            entry = self._calibrators.get((forecast.model_id, view.horizon))
            if entry is None or asked.bar_index + view.horizon <= self.bar_index:
                continue  # the bar that it is about has closed already: there is nothing left to foresee
            if not possible(view.point_e5, 1) or not possible(view.sigma_e5, 1):
                self.counters.forecasts_impossible += 1
                continue
            horizons.append(
                CalibratedHorizon(
                    horizon=view.horizon,
                    point_e5=view.point_e5,
                    sigma_e5=view.sigma_e5,
                    bands=entry[0].interval(view.point_e5, view.sigma_e5),
                )
            )
        return tuple(horizons)

    def resolve(self, bar: Bar, now_ns: int) -> list[ForecastResolved]:
        """Hold the intervals that are due against the close that came, and let the calibrators learn from it."""
        resolved: list[ForecastResolved] = []
        actual_e5 = bar.close_e5
        for issued in self._issued.pop(self.bar_index, ()):
            view = issued.horizon
            covered = tuple(not band.bounded or band.lower_e5 <= actual_e5 <= band.upper_e5 for band in view.bands)
            entry = self._calibrators.get((issued.model_id, view.horizon))
            if entry is not None:
                calibrator, tracker = entry
                calibrator.update(score(actual_e5, view.point_e5, view.sigma_e5), covered)
                tracker.add(covered=covered[0])
            resolved.append(
                ForecastResolved(
                    symbol=bar.symbol,
                    model_id=issued.model_id,
                    active=issued.model_id == self.active_model,
                    horizon=view.horizon,
                    as_of_ns=issued.as_of_ns,
                    close_e5=issued.close_e5,
                    point_e5=view.point_e5,
                    sigma_e5=view.sigma_e5,
                    actual_e5=actual_e5,
                    bands=view.bands,
                    covered=covered,
                    ts_init_ns=now_ns,
                )
            )
        return resolved
