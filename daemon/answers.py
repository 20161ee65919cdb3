"""Answers of inference on their way into the core, in every mode."""

from collections.abc import Awaitable, Callable, Sequence

from bus.codec import decode, encode
from bus.errors import DataError
from bus.messages import AnyMessage, Forecast, ForecastMissed, ForecastRequested, PatternSeen, RegimeSeen

Answer = Forecast | ForecastMissed | PatternSeen | RegimeSeen
AskForecast = Callable[[ForecastRequested], Awaitable[Sequence[AnyMessage]]]
"""Asks inference; gives its answers, one a model, or a miss that says why there is none."""


def as_written(answer: Answer) -> Answer:
    """An answer as the journal will give it back; a miss where it could not (NaN or a fraction where none belongs)."""
    try:
        written = decode(encode(answer))
    except (DataError, TypeError, ValueError, OverflowError) as error:
        written = None
        detail = str(error)
    else:
        detail = "it does not read as it was written"
    if written == answer:
        return answer
    return ForecastMissed(
        request_id=answer.request_id,
        symbol=answer.symbol,
        model_id=answer.model_id,
        reason="not_finite",
        detail=detail,
        ts_init_ns=answer.ts_init_ns,
    )
