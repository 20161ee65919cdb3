"""Answers requests for forecasts: every model, the random walk among them, and every pattern. No learning library.

Theory of operation. `answer` is a pure function of the request and of the artifacts the service was made with: it
keeps nothing between requests but counters, so it may run in any thread, process or machine and be restarted at any
time. One model that fails costs its own forecast and nobody else's: it becomes a `ForecastMissed`, counted by reason.
`answer_async` runs `answer` in the service's one worker thread, so that the event loop never waits for a model and
answers come in the order of requests. Numerical libraries are held to one thread, where small models are fastest.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

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
from models.columns import Columns, from_request
from models.contract import Forecaster

Answer = Forecast | ForecastMissed | PatternSeen | RegimeSeen

_ANY_MODEL = ""


class Service:
    """Models of any number of markets, ready to answer.

    Args:
        artifacts: verified; each answers requests for its own symbol and period only.

    Attributes:
        answered: requests answered.
        missed: forecasts that did not come, by reason.
    """

    def __init__(self, artifacts: Sequence[Artifact] = ()) -> None:
        self._artifacts = tuple(artifacts)
        self._limits = threadpool_limits(limits=1)
        self._worker: ThreadPoolExecutor | None = None
        self.answered = 0
        self.missed: dict[str, int] = {}

    def answer(self, request: ForecastRequested) -> list[Answer]:
        """One `Forecast` or `ForecastMissed` a model, the random walk first, then what patterns there are.

        Times are the request's (`ts_init_ns` = `as_of_ns`, `expires_ns` = `deadline_ns`, latency 0): the shell stamps
        what it measures. Never raises for what is in a request.
        """
        self.answered += 1
        try:
            columns = from_request(request)
        except TradingError as error:
            return [self._miss(request, _ANY_MODEL, "error", str(error))]
        answers: list[Answer] = []
        newest = min(len(columns), self._window(request.symbol, request.period_ns))
        market = features.Market(features.Inputs(columns=columns.tail(features.LONGEST)), newest=newest)
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
        for artifact in self._artifacts:  # one tuple for the whole answer, whoever comes or goes meanwhile
            manifest = artifact.manifest
            if (manifest.symbol, manifest.period_ns) != (request.symbol, request.period_ns):
                continue
            if manifest.kind == "detector":
                answers += self._unusual(request, artifact, columns)
            elif manifest.kind in {"regimes", "anomaly"}:
                answers += self._watched(request, artifact, columns)
            else:
                answers.append(self._forecast(request, artifact, market))
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
        self._limits.restore_original_limits()

    def _window(self, symbol: str, period_ns: int) -> int:
        """Most bars of features that a forecaster of a market looks at."""
        manifests = (each.manifest for each in self._artifacts if each.manifest.kind == "forecaster")
        return max(
            (each.window for each in manifests if (each.symbol, each.period_ns) == (symbol, period_ns)), default=1
        )

    def _forecast(self, request: ForecastRequested, artifact: Artifact, market: features.Market) -> Answer:
        model_id, offered, names = artifact.model_id, artifact.manifest.horizons, artifact.manifest.feature_names
        window = artifact.manifest.window
        needed = features.startup(names) + window - 1
        if len(market) < needed:
            detail = f"{len(market)} bars; {needed} are needed"
            return self._miss(request, model_id, "no_history", detail)
        if not set(request.horizons) <= set(offered):
            # not "unavailable": that says nobody is there to answer, and a shell may wait for somebody to come
            return self._miss(request, model_id, "error", f"horizons {request.horizons} asked, {offered} trained")

        forecaster: Forecaster = artifact.pipeline

        def ask() -> tuple[HorizonForecast, ...] | None:
            # models of one market share what their features have in common, sigma among it
            points, spreads = forecaster.measured(features.rows(market, window, names).reshape(1, -1))
            expected, sigma = points[0], features.newest_sigma(market)
            spread = np.ones_like(expected) if spreads is None else spreads[0]
            if not (np.isfinite(expected).all() and np.isfinite(spread).all() and math.isfinite(sigma)):
                return None
            close_e5, columns = int(market.columns.close_e5[-1]), [offered.index(each) for each in request.horizons]
            return tuple(
                random_walk.to_prices(close_e5, float(expected[column]), sigma, horizon, float(spread[column]))
                for horizon, column in zip(request.horizons, columns, strict=True)
            )

        return self._guarded(request, model_id, ask)

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
