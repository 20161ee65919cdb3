"""What the core keeps for one symbol: its bars, the forecasts asked for, and whether their intervals told the truth.

Theory of operation. A closed bar moves the index on. A request notes the bar it was asked on; an answer is calibrated
with what had been learnt until it came, and waits under the index of the bar that will bring its truth. When that bar
closes, the interval is held against it, and only then does the calibrator learn: labels are as late as the horizon.

An interval is as wide as the market moves just then: its scale is the volatility as it was when the forecast was asked
for (`models.volatility`, learnt here bar by bar from where the artifact left it), or the forecast's own sigma for a
model that was admitted with scores in that unit.
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
    ModelRetired,
)
from bus.values import NS_PER_S, Instrument
from daemon.succession import Said, Succession
from models.bars import BarBuilder, BarWindow
from models.conformal import Bank, score
from models.conformal.calibrator import Calibrator, Ticket, stride_for
from models.summary import BarMeasures
from models.volatility import SeasonalVolatility
from risk.evidence import Changed, Evidence, ModelStanding
from risk.marks import possible
from risk.policies.models import ModelLimits
from risk.promotion import SwapPolicy

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
    """A request in flight, the bar it was asked on, the scale of each horizon then, and the models that answered.

    `decided` = the answer of a model in force was handed to the strategies. It happens once, whoever is in force later.
    `owing` are the models that said, or let pass, that they have no answer; one may still come.
    """

    bar_index: int
    as_of_ns: int
    close_e5: int
    deadline_ns: int
    scales_e5: dict[int, int]
    answered: list[str]
    owing: list[str]
    decided: bool = False


class _Issued(msgspec.Struct, gc=False):
    """An interval whose truth is still to come; its score, in units of `scale_e5`, goes to who issued it."""

    model_id: str
    as_of_ns: int
    close_e5: int
    horizon: CalibratedHorizon
    scale_e5: int
    ticket: Ticket
    calibrator: Calibrator


class Market:
    """One symbol. `succession` knows which of its models trades."""

    __slots__ = ("_by_market", "_calibrators", "_issued", "_measured", "_measures", "asked", "bar_index", "builder",
                 "counters", "evidence", "succession", "volatility", "window")  # fmt: skip

    def __init__(
        self,
        instrument: Instrument,
        period_ns: int,
        counters: Counters,
        *,
        swap: SwapPolicy | None = None,
        limits: ModelLimits | None = None,
        level_ppm: int = 900_000,
    ) -> None:
        self.builder = BarBuilder(instrument.symbol, period_ns)
        self.window = BarWindow(instrument.symbol, period_ns)
        self.bar_index = 0
        self.succession = Succession(instrument.symbol, swap or SwapPolicy(), level_ppm)
        self.asked: dict[str, _Asked] = {}
        self.counters = counters
        self._issued: dict[int, list[_Issued]] = {}  # by the index of the bar that brings the truth
        self._calibrators = Bank(instrument.symbol)
        self.evidence = Evidence(instrument.symbol, limits or ModelLimits(), level_ppm)
        self._measures = BarMeasures()
        self._measured: tuple[int, int, tuple[int, ...] | None] | None = None  # of the newest bar
        self._by_market: set[str] = set()  # models whose scores are in units of the market's volatility
        self.volatility = SeasonalVolatility(period_ns)

    @property
    def has_models(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.succession.members)

    @property
    def active_model(self) -> str:
        """The model that trades, empty before one was admitted."""
        return self.succession.in_force

    def admit(self, model: ModelAdmitted, levels_ppm: Sequence[int]) -> list[ModelRetired]:
        """Let a model speak, with a fresh calibrator a horizon: scores of two models are not exchangeable.

        The volatility that comes with it is taken where it knows more of the market than what was learnt here. With
        whoever is retired for it go its calibrators; what it issued is still held against the truth.
        """
        for horizon, scores in zip(model.horizons, model.scores, strict=True):
            self._calibrators.admit(model.model_id, horizon, levels_ppm, scores)
        self.evidence.admit(model, [stride_for(horizon) for horizon in model.horizons])
        self._by_market.discard(model.model_id)
        if model.volatility is not None:
            self._by_market.add(model.model_id)
            if not self.volatility.known or model.volatility.last_open_ns > self.volatility.last_open_ns:
                self.volatility = SeasonalVolatility.restore(model.volatility, self.window.period_ns)
        retired = self.succession.admit(model)
        for gone in retired:
            self._calibrators.dismiss(gone.model_id)
            self._by_market.discard(gone.model_id)
            self.evidence.dismiss(gone.model_id)
        return retired

    def standing(self, model_id: str, horizon: int, request_id: str) -> ModelStanding:
        """What an intent rests on. Requests that are not remembered are long past; an empty id names none."""
        expires_ns: int | None = None
        if request_id:
            asked = self.asked.get(request_id)
            expires_ns = asked.deadline_ns if asked else 0
        return self.evidence.standing(model_id, horizon, expires_ns)

    def look_back(self, bar: Bar) -> None:
        """Take in a bar from before trading started."""
        self.window.append(bar)
        measured = self._measures.take(bar, self.volatility)
        self._measured = None if measured is None else (measured.return_ppm, measured.range_ppm, measured.octaves)
        if min(bar.high_e5, bar.low_e5, bar.close_e5) > 0:  # history comes from outside
            self.volatility.update(bar.ts_open_ns, bar.high_e5, bar.low_e5, bar.close_e5)

    def close(self, bar: Bar) -> None:
        """Take in a closed bar."""
        self.look_back(bar)
        self.bar_index += 1

    def owed(self, now_ns: int) -> list[Said | Changed]:
        """Who did not answer the last request at all owes a forecast; called before the next one is asked."""
        if not self.asked:
            return []
        last = self.asked[next(reversed(self.asked))]
        said: list[Said | Changed] = []
        in_force = self.active_model
        # the one in force last, so that it is held against what the others owe by then
        for model_id in sorted(self.succession.members, key=lambda each: each == in_force):
            if model_id not in last.answered and model_id not in last.owing:
                last.owing.append(model_id)
                said.extend(self.owes(model_id, now_ns))
        return said

    def missed(self, missed: ForecastMissed, now_ns: int) -> list[Said | Changed]:
        """A model says that it has no forecast: it owes one, once."""
        asked = self.asked.get(missed.request_id)
        if asked is None or missed.model_id in asked.answered or missed.model_id in asked.owing:
            return []
        asked.owing.append(missed.model_id)
        return self.owes(missed.model_id, now_ns)

    def owes(self, model_id: str, now_ns: int) -> list[Said | Changed]:
        """A forecast did not come, or not in time."""
        said: list[Said | Changed] = [*self.evidence.missed(model_id, self.active_model, now_ns)]
        swap = self.succession.missed(model_id, now_ns)
        return said if swap is None else [*said, swap]

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
        self.asked[request.request_id] = _Asked(
            bar_index=self.bar_index,
            as_of_ns=bar.ts_close_ns,
            close_e5=bar.close_e5,
            deadline_ns=deadline_ns,
            scales_e5=self._scales(bar.close_e5, horizons),
            answered=[],
            owing=[],
        )
        return request

    def _scales(self, close_e5: int, horizons: tuple[int, ...]) -> dict[int, int]:
        if not self._by_market:
            return {}
        return {horizon: self.volatility.scale_e5(close_e5, horizon) for horizon in horizons}

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
        active = not asked.decided and forecast.model_id == self.active_model
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
        issued = self._issue(forecast, asked)
        if not issued:
            self.counters.forecasts_unasked += 1
            return None
        self.succession.answered(forecast.model_id)
        asked.decided = asked.decided or active
        for one in issued:
            self._issued.setdefault(asked.bar_index + one.horizon.horizon, []).append(one)
        return CalibratedForecast(
            request_id=forecast.request_id,
            symbol=forecast.symbol,
            model_id=forecast.model_id,
            active=active,
            as_of_ns=forecast.as_of_ns,
            expires_ns=forecast.expires_ns,
            close_e5=asked.close_e5,
            horizons=tuple(one.horizon for one in issued),
            ts_init_ns=now_ns,
        )

    def _issue(self, forecast: Forecast, asked: _Asked) -> list[_Issued]:
        issued: list[_Issued] = []
        for view in forecast.horizons:
            calibrator = self._calibrators.get(forecast.model_id, view.horizon)
            if calibrator is None or asked.bar_index + view.horizon <= self.bar_index:
                continue  # the bar that it is about has closed already: there is nothing left to foresee
            if not possible(view.point_e5, 1) or not possible(view.sigma_e5, 1):
                self.counters.forecasts_impossible += 1
                continue
            by_market = forecast.model_id in self._by_market
            scale_e5 = asked.scales_e5[view.horizon] if by_market else view.sigma_e5
            horizon = CalibratedHorizon(
                horizon=view.horizon,
                point_e5=view.point_e5,
                sigma_e5=view.sigma_e5,
                bands=calibrator.interval(view.point_e5, scale_e5),
            )
            issued.append(
                _Issued(
                    model_id=forecast.model_id,
                    as_of_ns=forecast.as_of_ns,
                    close_e5=asked.close_e5,
                    horizon=horizon,
                    scale_e5=scale_e5,
                    ticket=calibrator.ticket(),
                    calibrator=calibrator,
                )
            )
        return issued

    def resolve(self, bar: Bar, now_ns: int) -> list[ForecastResolved | Changed | Said]:
        """Hold the intervals that are due against the close that came, and let the calibrators learn from it.

        What that says of the models follows behind; and the swap, where a comparison of two models ends with it.
        """
        resolved: list[ForecastResolved | Changed | Said] = []
        changed = self.evidence.bar(self._measured, self.active_model, now_ns)
        swaps: list[Said] = []
        actual_e5 = bar.close_e5
        for issued in self._issued.pop(self.bar_index, ()):
            view = issued.horizon
            covered = tuple(not band.bounded or band.lower_e5 <= actual_e5 <= band.upper_e5 for band in view.bands)
            calibrator = self._calibrators.get(issued.model_id, view.horizon)
            if calibrator is not None and calibrator is issued.calibrator:  # not one of an earlier admission
                off = score(actual_e5, view.point_e5, issued.scale_e5)
                calibrator.update(off, covered, issued.ticket)
                within = covered[0] if view.bands[0].bounded else None
                changed += self.evidence.resolved(
                    issued.model_id, view.horizon, off, self.active_model, now_ns, covered=within
                )
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
            said = self.succession.resolved(
                issued.model_id, issued.as_of_ns, view.horizon, view.bands[0], actual_e5, issued.scale_e5, now_ns
            )
            if said is not None:
                swaps.append(said)
        return resolved + changed + swaps
