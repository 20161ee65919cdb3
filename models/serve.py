"""Answers requests for forecasts: every model, the random walk among them, and every pattern. No learning library.

Theory of operation. `answer` is a pure function of the request and of the artifacts the service was made with: it
keeps nothing between requests but counters, so it may run in any thread, process or machine and be restarted at any
time. One model that fails costs its own forecast and nobody else's: it becomes a `ForecastMissed`, counted by reason.
`answer_async` runs `answer` in the service's one worker thread, so that the event loop never waits for a model and
answers come in the order of requests. Numerical libraries are held to one thread, where small models are fastest.

Several requests at once. One request carries all horizons of its market, and one pass of a network answers them all.
`answer_all` takes requests of any markets: what a device computes (`Device`) is begun for all of them before the first
is waited for, the rows of one model in one batch. On the processor requests are answered one after the other, each
given out as soon as it is done, so that answers are those of one at a time to the bit. Putting the networks of ten
markets into one product there was measured (`bench/bench_models.py`, rows `together`): for an mlp it saves 0.2 % of the
answers, which are features; a tcn takes five times as long; a temporal U-Net two thirds, but in PyTorch alone. It adds
up in another order, so that an answer would depend on who else asked, and lets one model's fault reach others. It is
not done.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from bus.errors import TradingError
from bus.messages import (
    AnyMessage,
    Forecast,
    ForecastMissed,
    ForecastRequested,
    HorizonForecast,
    PatternSeen,
    RegimeSeen,
)
from models import candles, features, patterns, random_walk, watching
from models.artifact import Artifact
from models.columns import Columns, Floats, from_request
from models.contract import Forecaster

Answer = Forecast | ForecastMissed | PatternSeen | RegimeSeen

_ANY_MODEL = ""

Told = tuple[Floats, Floats | None]
"""A forecaster's outputs for one row, and their deviations where it tells them, each of shape (1, m)."""

Wait = Callable[[], Told | None]
"""Waits for a row that was begun; None where it did not come, and the processor is to answer. Never raises."""


class Device(Protocol):
    """Somebody who computes beside the processor what some forecasters say (`models.device`)."""

    def begin(self, artifact: Artifact, inputs: Floats) -> Sequence[Wait] | None:
        """Begin to answer rows of shape (n, window * k), and do not wait. Never raises.

        Returns:
            One a row; None where this artifact, or these rows, are the processor's.
        """
        ...

    def close(self) -> None:
        """Give back what it holds. Safe to call twice."""
        ...


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One request under way.

    Attributes:
        refusal: why it cannot be answered; None = it can.
        begun: what a device computes of it, by model id.
    """

    request: ForecastRequested
    columns: Columns | None
    market: features.Market | None
    refusal: TradingError | None = None
    begun: dict[str, Wait] = field(default_factory=dict[str, Wait])


class Service:
    """Models of any number of markets, ready to answer.

    Args:
        artifacts: verified; each answers requests for its own symbol and period only.
        device: computes what some of them say, and is closed with the service; None = the processor does it all.

    Attributes:
        answered: requests answered.
        missed: forecasts that did not come, by reason.
    """

    def __init__(self, artifacts: Sequence[Artifact] = (), device: Device | None = None) -> None:
        self._artifacts = tuple(artifacts)
        self._device = device
        self._limits = threadpool_limits(limits=1)
        self._worker: ThreadPoolExecutor | None = None
        self.answered = 0
        self.missed: dict[str, int] = {}

    def answer(self, request: ForecastRequested) -> list[Answer]:
        """One `Forecast` or `ForecastMissed` a model, the random walk first, then what patterns there are.

        Times are the request's (`ts_init_ns` = `as_of_ns`, `expires_ns` = `deadline_ns`, latency 0): the shell stamps
        what it measures. Never raises for what is in a request.
        """
        return next(self.answer_all([request]))

    def answer_all(self, requests: Sequence[ForecastRequested]) -> Iterator[list[Answer]]:
        """The answers of each request in the order given, each as soon as it is there; see `answer` and the module."""
        artifacts = self._artifacts  # one tuple for all of them, whoever comes or goes meanwhile
        if self._device is None:
            for request in requests:
                yield self._answers(self._opened(request, artifacts), artifacts)
            return
        opened = [self._opened(request, artifacts) for request in requests]
        self._begin(self._device, opened, artifacts)
        for asked in opened:
            yield self._answers(asked, artifacts)

    def _opened(self, request: ForecastRequested, artifacts: Sequence[Artifact]) -> _Asked:
        try:
            columns = from_request(request)
        except TradingError as error:
            return _Asked(request=request, columns=None, market=None, refusal=error)
        newest = min(len(columns), _window(_of_market(artifacts, request)))
        market = features.Market(features.Inputs(columns=columns.tail(features.LONGEST)), newest=newest)
        return _Asked(request=request, columns=columns, market=market)

    def _begin(self, device: Device, opened: Sequence[_Asked], artifacts: Sequence[Artifact]) -> None:
        """Hand the device what it computes, market by market, so that it works while the next one's features are made.

        A model belongs to one market, so all its rows are there when its market's are.
        """
        markets: dict[tuple[str, int], list[_Asked]] = {}
        for asked in opened:
            markets.setdefault((asked.request.symbol, asked.request.period_ns), []).append(asked)
        for together in markets.values():
            for artifact in _of_market(artifacts, together[0].request):
                if artifact.manifest.kind == "forecaster":
                    try:
                        _begin_one(device, artifact, together)
                    except Exception:  # noqa: BLE001, S112  the processor, asked next, meets the same and says so
                        continue

    def _answers(self, asked: _Asked, artifacts: Sequence[Artifact]) -> list[Answer]:
        request, columns, market = asked.request, asked.columns, asked.market
        self.answered += 1
        if columns is None or market is None:
            return [self._miss(request, _ANY_MODEL, "error", str(asked.refusal))]
        answers: list[Answer] = []
        if len(columns) < features.SIGMA_BARS:
            detail = f"{len(columns)} bars; {features.SIGMA_BARS} are needed"
            answers.append(self._miss(request, random_walk.MODEL_ID, "no_history", detail))
        else:
            close_e5, sigma = int(columns.close_e5[-1]), features.newest_sigma(market)
            answers.append(
                self._guarded(
                    request, random_walk.MODEL_ID, lambda: random_walk.forecast(close_e5, sigma, request.horizons)
                )
            )
        for artifact in _of_market(artifacts, request):
            kind = artifact.manifest.kind
            if kind == "detector":
                answers += self._unusual(request, artifact, columns)
            elif kind in {"regimes", "anomaly"}:
                answers += self._watched(request, artifact, columns)
            else:
                answers.append(self._forecast(request, artifact, market, asked.begun.get(artifact.model_id)))
        return answers + self._named(request, columns)

    async def answer_async(self, request: ForecastRequested) -> Sequence[AnyMessage]:
        """`answer`, in the service's worker thread (fits ``bus.port.AnswerRequest``)."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.answer, request)

    def replace(self, artifacts: Sequence[Artifact]) -> None:
        """Serve these from the next request on; an answer under way is finished by those it began with."""
        self._artifacts = tuple(artifacts)

    def add(self, artifact: Artifact) -> None:
        """Serve one more, the last in order; it takes the place of one of the same id."""
        self.replace([*(each for each in self._artifacts if each.model_id != artifact.model_id), artifact])

    def drop(self, model_id: str) -> None:
        """Serve one less; nothing where it is not served."""
        self.replace([each for each in self._artifacts if each.model_id != model_id])

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What is served, in the order in which it answers."""
        return self._artifacts

    def close(self) -> None:
        """Wait for the answer under way, end the thread, give libraries their threads back. Safe to call twice."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
            self._worker = None
        if self._device is not None:
            self._device.close()
        self._limits.restore_original_limits()

    def _forecast(
        self, request: ForecastRequested, artifact: Artifact, market: features.Market, begun: Wait | None
    ) -> Answer:
        unfit = _unfit(market, request, artifact)
        if unfit is not None:
            return self._miss(request, artifact.model_id, *unfit)
        forecaster: Forecaster = artifact.pipeline
        offered = artifact.manifest.horizons

        def ask() -> tuple[HorizonForecast, ...] | None:
            # models of one market share what their features have in common, sigma among it
            told = None if begun is None else begun()
            points, spreads = forecaster.measured(_inputs(market, artifact)) if told is None else told
            expected, sigma = points[0], features.newest_sigma(market)
            spread = np.ones_like(expected) if spreads is None else spreads[0]
            if not (np.isfinite(expected).all() and np.isfinite(spread).all() and math.isfinite(sigma)):
                return None
            close_e5, columns = int(market.columns.close_e5[-1]), [offered.index(each) for each in request.horizons]
            return tuple(
                random_walk.to_prices(close_e5, float(expected[column]), sigma, horizon, float(spread[column]))
                for horizon, column in zip(request.horizons, columns, strict=True)
            )

        return self._guarded(request, artifact.model_id, ask)

    def _guarded(
        self, request: ForecastRequested, model_id: str, ask: Callable[[], tuple[HorizonForecast, ...] | None]
    ) -> Answer:
        try:
            horizons = ask()
        except Exception as error:  # noqa: BLE001  whatever a model raises must cost its own forecast only
            return self._miss(request, model_id, "error", f"{type(error).__name__}: {error}")
        if horizons is None:
            return self._miss(request, model_id, "not_finite", "the model's answer is not a finite number")
        return Forecast(
            request_id=request.request_id,
            symbol=request.symbol,
            model_id=model_id,
            as_of_ns=request.as_of_ns,
            expires_ns=request.deadline_ns,
            horizons=horizons,
            ts_init_ns=request.as_of_ns,
        )

    def _unusual(self, request: ForecastRequested, artifact: Artifact, columns: Columns) -> list[Answer]:
        """The autoencoder's verdict on the newest window; nothing where it is as usual or too short."""
        inputs = candles.windows(columns.tail(candles.WINDOW))
        if not len(inputs):
            return []
        try:
            errors = candles.errors(artifact.pipeline, inputs)[0]
            threshold = float(artifact.tensors["candle_threshold"][0])
            unusual = candles.judge(errors, artifact.tensors["error_percentiles"], threshold)
        except Exception as error:  # noqa: BLE001  as above
            return [self._miss(request, artifact.model_id, "error", f"{type(error).__name__}: {error}")]
        if unusual is None:
            return []
        return [
            PatternSeen(
                request_id=request.request_id,
                symbol=request.symbol,
                pattern="unusual_candles",
                model_id=artifact.model_id,
                as_of_ns=request.as_of_ns,
                error_ppm=round(unusual.error * 1_000_000),
                threshold_ppm=round(unusual.threshold * 1_000_000),
                percentile=round(unusual.percentile, 4),
                candles=unusual.candles,
                ts_init_ns=request.as_of_ns,
            )
        ]

    def _watched(self, request: ForecastRequested, artifact: Artifact, columns: Columns) -> Sequence[Answer]:
        """What a regime or anomaly model says of the newest bar."""
        try:
            return watching.look(request, artifact, columns)
        except Exception as error:  # noqa: BLE001  as above
            return [self._miss(request, artifact.model_id, "error", f"{type(error).__name__}: {error}")]

    def _named(self, request: ForecastRequested, columns: Columns) -> list[Answer]:
        """The named patterns that the newest bar completes."""
        try:
            return list(patterns.look(request, columns))
        except Exception as error:  # noqa: BLE001  as above
            return [self._miss(request, patterns.MODEL_ID, "error", f"{type(error).__name__}: {error}")]

    def _miss(self, request: ForecastRequested, model_id: str, reason: str, detail: str) -> ForecastMissed:
        self.missed[reason] = self.missed.get(reason, 0) + 1
        return ForecastMissed(
            request_id=request.request_id,
            symbol=request.symbol,
            model_id=model_id,
            reason=reason,
            detail=detail,
            ts_init_ns=request.as_of_ns,
        )


def _of_market(artifacts: Sequence[Artifact], request: ForecastRequested) -> list[Artifact]:
    """Those that answer for a request's market, in order."""
    market = request.symbol, request.period_ns
    return [each for each in artifacts if (each.manifest.symbol, each.manifest.period_ns) == market]


def _window(artifacts: Sequence[Artifact]) -> int:
    """Most bars of features that a forecaster among them looks at."""
    return max((each.manifest.window for each in artifacts if each.manifest.kind == "forecaster"), default=1)


def _inputs(market: features.Market, artifact: Artifact) -> Floats:
    """A forecaster's row of inputs, shape (1, window * k)."""
    return features.rows(market, artifact.manifest.window, artifact.manifest.feature_names).reshape(1, -1)


def _unfit(market: features.Market, request: ForecastRequested, artifact: Artifact) -> tuple[str, str] | None:
    """Why a model cannot answer, as reason and detail; None where it can."""
    offered = artifact.manifest.horizons
    needed = features.startup(artifact.manifest.feature_names) + artifact.manifest.window - 1
    if len(market) < needed:
        return "no_history", f"{len(market)} bars; {needed} are needed"
    if not set(request.horizons) <= set(offered):
        # not "unavailable": that says nobody is there to answer, and a shell may wait for somebody to come
        return "error", f"horizons {request.horizons} asked, {offered} trained"
    return None


def _begin_one(device: Device, artifact: Artifact, together: Sequence[_Asked]) -> None:
    rows = [
        (asked, _inputs(asked.market, artifact))
        for asked in together
        if asked.market is not None and _unfit(asked.market, asked.request, artifact) is None
    ]
    waits = device.begin(artifact, np.concatenate([row for _, row in rows])) if rows else None
    for (asked, _), wait in zip(rows, waits or (), strict=False):
        asked.begun[artifact.model_id] = wait
