"""Prometheus metrics, read from the status projection at the moment of a scrape."""

from collections.abc import Callable, Iterator

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from daemon.snapshot import InferenceView, Snapshot
from daemon.status import Status

_COUNTED = {
    "quotes": "Quotes that entered the core",
    "bars": "Bars closed",
    "forecasts": "Calibrated forecasts",
    "forecasts_missed": "Forecasts that did not come or came too late",
    "patterns": "Patterns seen",
    "intents": "Intents of strategies",
    "refused": "Intents refused by the risk gate",
    "orders": "Orders submitted",
    "rejected": "Orders refused by the venue",
    "fills": "Deals",
    "trades": "Deals that closed a position or part of one",
    "wins": "Closing deals with a profit after costs",
    "halts": "Halts latched",
}


class StatusCollector(Collector):
    """Turns one snapshot into metric families."""

    def __init__(self, status: Status, clock_s: Callable[[], float]) -> None:
        self._status = status
        self._clock_s = clock_s

    def describe(self) -> list[Metric]:
        """Nothing: the names depend on what happened."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families at this moment."""
        snapshot = self._status.snapshot(self._clock_s())
        counts = msgspec.structs.asdict(snapshot.counts)
        for name, words in _COUNTED.items():
            yield CounterMetricFamily(f"plimsoll_{name}", words, value=counts[name])
        yield from self._gauges(snapshot)
        yield from self._tables(snapshot)

    def _gauges(self, snapshot: Snapshot) -> Iterator[Metric]:
        scale = 10**snapshot.money_digits
        for name, words, value in (
            ("equity", "Floating equity in the account's currency", snapshot.equity / scale),
            ("balance", "Balance in the account's currency", snapshot.balance / scale),
            ("net_profit", "Closed trades after costs in the account's currency", snapshot.net_profit / scale),
            ("costs", "Commission, swap and fees paid in the account's currency", snapshot.costs / scale),
            ("drawdown_ratio", "Fall of equity from its peak, 0 to 1", snapshot.drawdown),
            ("max_drawdown_ratio", "Deepest fall so far, 0 to 1", snapshot.max_drawdown),
            ("open_positions", "Open positions", len(snapshot.positions)),
            ("progress_ratio", "Part of the run that is done, 0 to 1", snapshot.progress),
            ("pace", "Seconds of market time a second", snapshot.pace),
            ("market_time_seconds", "Time of the newest message, UTC", snapshot.now_ns / 1e9),
            ("healthy", "1 = healthy", float(snapshot.health.ok)),
            ("silent_seconds", "Time since anything went through the core", snapshot.health.silent_s),
        ):
            yield GaugeMetricFamily(f"plimsoll_{name}", words, value=value)

    def _tables(self, snapshot: Snapshot) -> Iterator[Metric]:
        halted = GaugeMetricFamily("plimsoll_halted", "Halts in force", labels=["rule"])
        for rule in snapshot.halts:
            halted.add_metric([rule], 1)
        yield halted
        refused = CounterMetricFamily("plimsoll_refused_by_rule", "Intents refused, by rule", labels=["rule"])
        for rule, times in snapshot.refusals.items():
            refused.add_metric([rule], times)
        yield refused
        patterns = CounterMetricFamily("plimsoll_patterns_by_name", "Patterns seen, by name", labels=["pattern"])
        for name, times in snapshot.patterns.items():
            patterns.add_metric([name], times)
        yield patterns
        measured = GaugeMetricFamily(
            "plimsoll_coverage_measured", "Share of truths in the interval", labels=["horizon"]
        )
        nominal = GaugeMetricFamily("plimsoll_coverage_nominal", "Share that was promised", labels=["horizon"])
        resolved = CounterMetricFamily("plimsoll_forecasts_resolved", "Forecasts with their truth", labels=["horizon"])
        for view in snapshot.coverage:
            label = [str(view.horizon)]
            nominal.add_metric(label, view.nominal)
            resolved.add_metric(label, view.n)
            if view.measured is not None:
                measured.add_metric(label, view.measured)
        yield from (measured, nominal, resolved)
        if snapshot.inference is not None:
            yield from _inference(snapshot.inference)


def _inference(view: InferenceView) -> Iterator[Metric]:
    """Each step of the ladder from a device to no forecast at all."""
    for name, words, count in (
        ("answered", "Requests for forecasts that were answered", view.answered),
        ("stood_in", "Requests that the daemon answered because its inference process could not", view.stood_in),
        ("unanswered", "Requests that nobody answered", view.unanswered),
        ("restarts", "Starts of the inference process after the first", view.restarts),
    ):
        yield CounterMetricFamily(f"plimsoll_inference_{name}", words, value=count)
    missed = CounterMetricFamily("plimsoll_inference_missed", "Forecasts that did not come", labels=["reason"])
    for reason, times in view.missed.items():
        missed.add_metric([reason], times)
    yield missed
    yield GaugeMetricFamily("plimsoll_inference_up", "1 = whoever forecasts is up", value=float(view.state == "up"))
    yield GaugeMetricFamily("plimsoll_inference_memory_bytes", "Most memory it has had", value=view.memory_bytes)
    yield GaugeMetricFamily("plimsoll_inference_busy_ratio", "Share of time that it computed", value=view.busy)
    device = view.device
    if device is None:
        return
    yield CounterMetricFamily("plimsoll_device_forecasts", "Forecasts that a device computed", value=device.answered)
    fell_back = CounterMetricFamily(
        "plimsoll_device_fell_back", "Forecasts that the processor computed in its stead", labels=["reason"]
    )
    for reason, times in device.fell_back.items():
        fell_back.add_metric([reason], times)
    yield fell_back
    models = GaugeMetricFamily("plimsoll_device_models", "Forecasters by where they run", labels=["on"])
    models.add_metric(["device"], len(device.models))
    models.add_metric(["processor"], device.kept_off)
    yield models
    yield GaugeMetricFamily("plimsoll_device_memory_bytes", "Memory of the device in use", value=device.memory_bytes)
    yield GaugeMetricFamily("plimsoll_device_busy_ratio", "Share of time that the device computed", value=device.busy)


def registry_of(status: Status, clock_s: Callable[[], float]) -> CollectorRegistry:
    """A registry of its own that holds nothing but this status."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status, clock_s))
    return registry
