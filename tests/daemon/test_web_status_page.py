"""The status page, health and metrics."""

import asyncio
import base64
import json
import re
import socket
from hashlib import sha256

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bus import messages as m
from bus.errors import ConfigError
from daemon.snapshot import DepthView, DeviceView, InferenceView, MarginView, TrainingView
from daemon.status import Status
from daemon.web import server as module
from daemon.web import start
from daemon.web.server import host_allowed
from tests.harness import records as r

PATHS = ("/", "/health", "/metrics", "/api/status")


def asked(*requests, status=None):
    """Ask a running server; gives (status code, headers, body) for each request (method, path, headers)."""

    async def run():
        server = await start(status or folded(), port=0)
        try:
            async with aiohttp.ClientSession() as session:
                found = []
                for method, path, headers in requests:
                    async with session.request(method, server.url.rstrip("/") + path, headers=headers) as answer:
                        found.append((answer.status, answer.headers, await answer.text()))
                return found
        finally:
            await server.close()

    return asyncio.run(run())


def get(path, status=None):
    return asked(("GET", path, {}), status=status)[0]


def folded():
    status = Status()
    for seq, message in r.journal():
        status.watch(seq, message)
    return status


def test_the_status_is_told_as_json():
    code, headers, body = get("/api/status")

    assert (code, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(body)["counts"]["trades"] == 6


def test_the_account_is_shown_in_the_brokers_figures_where_there_is_a_broker():
    assert json.loads(get("/api/status")[2])["margin"] is None
    status = folded()
    status.margin = lambda: MarginView(balance=1_000, equity=900, used=100, free=800, level_pct=900.0)
    told = json.loads(get("/api/status", status)[2])["margin"]
    assert told == {"balance": 1_000, "equity": 900, "used": 100, "free": 800, "level_pct": 900.0}


def test_who_forecasts_is_shown_with_how_it_is():
    assert json.loads(get("/api/status")[2])["inference"] is None
    status = folded()
    status.inference = lambda: InferenceView(worker="process", state="up", answered=7, missed={"late": 1}, stood_in=2)
    told = json.loads(get("/api/status", status)[2])["inference"]
    assert (told["worker"], told["answered"], told["missed"], told["stood_in"]) == ("process", 7, {"late": 1}, 2)


def test_trainings_that_a_bus_tells_of_are_shown():
    assert json.loads(get("/api/status")[2])["trainings"] == []
    status = folded()
    status.trainings = lambda: (TrainingView(run="0001", symbol="EURUSD", state="trains", at_ns=1, share=0.5),)
    (told,) = json.loads(get("/api/status", status)[2])["trainings"]
    assert (told["run"], told["symbol"], told["share"], told["train_loss"]) == ("0001", "EURUSD", 0.5, None)


def with_device():
    device = DeviceView(
        name="cuda (a card)", models={"tcn-1": "torch bfloat16"}, kept_off=2, answered=40, fell_back={"slow": 1},
        memory_bytes=2**28, busy=0.25,
    )  # fmt: skip
    return InferenceView(
        worker="process", state="up", answered=7, missed={"late": 1}, stood_in=2, restarts=3, device=device
    )


def test_a_device_is_shown_with_what_it_computed_and_what_fell_back():
    status = folded()
    status.inference = with_device
    told = json.loads(get("/api/status", status)[2])["inference"]["device"]
    assert (told["name"], told["models"], told["kept_off"]) == ("cuda (a card)", {"tcn-1": "torch bfloat16"}, 2)
    assert (told["answered"], told["fell_back"], told["memory_bytes"], told["busy"]) == (40, {"slow": 1}, 2**28, 0.25)


def test_each_step_from_a_device_to_no_forecast_is_a_metric():
    def families(inference):
        status = folded()
        status.inference = lambda: inference
        read = text_string_to_metric_families(get("/metrics", status)[2])
        return {family.name: {tuple(s.labels.values()): s.value for s in family.samples} for family in read}

    found = families(with_device())
    assert found["plimsoll_device_forecasts"] == {(): 40}
    assert found["plimsoll_device_fell_back"] == {("slow",): 1}
    assert found["plimsoll_device_models"] == {("device",): 1, ("processor",): 2}
    assert found["plimsoll_device_memory_bytes"] == {(): 2**28}
    assert found["plimsoll_device_busy_ratio"] == {(): 0.25}
    assert found["plimsoll_inference_stood_in"] == {(): 2}
    assert found["plimsoll_inference_restarts"] == {(): 3}
    assert found["plimsoll_inference_missed"] == {("late",): 1}
    assert found["plimsoll_inference_up"] == {(): 1}
    down = families(InferenceView(worker="process", state="down", answered=0, missed={}))
    assert down["plimsoll_inference_up"] == {(): 0}
    assert not any(name.startswith("plimsoll_device") for name in down)
    assert not any(name.startswith(("plimsoll_device", "plimsoll_inference")) for name in families(None))


def test_depth_is_shown_where_it_is_asked_for():
    assert json.loads(get("/api/status")[2])["depth"] == {}
    status = folded()
    status.depth = lambda: {"EURUSD": DepthView(bids=((112_569, 100_000),), asks=())}
    assert json.loads(get("/api/status", status)[2])["depth"] == {"EURUSD": {"bids": [[112_569, 100_000]], "asks": []}}


def test_health_is_200_when_well_and_503_with_its_reasons_when_not():
    code, _, body = get("/health")
    assert (code, json.loads(body)["status"]) == (200, "ok")

    status = folded()
    status.apply(m.HaltLatched(level=m.HaltLevel.FLATTEN, rule="kill", limit="", value="", reason="ann", ts_init_ns=1))
    code, _, body = get("/health", status)
    assert (code, json.loads(body)["status"]) == (503, "degraded")
    assert json.loads(body)["reasons"] == ["halt kill: flatten: ann"]


def test_metrics_are_read_by_prometheus_and_are_of_this_status_alone():
    status = folded()
    status.apply(r.pattern("double_top"))
    code, headers, body = get("/metrics", status)
    families = {family.name: family for family in text_string_to_metric_families(body)}

    assert code == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert families["plimsoll_trades"].samples[0].value == 6
    assert {s.labels["rule"]: s.value for s in families["plimsoll_refused_by_rule"].samples} == {
        "spread": 3,
        "exposure": 3,
    }
    assert {s.labels["pattern"]: s.value for s in families["plimsoll_patterns_by_name"].samples} == {"double_top": 1}
    assert {s.labels["horizon"] for s in families["plimsoll_coverage_measured"].samples} == {"1", "4", "24"}
    assert not any(name.startswith(("python", "process")) for name in families)


def test_the_page_needs_nothing_from_anywhere_and_its_blocks_match_their_hashes():
    code, headers, body = get("/")
    policy = headers["Content-Security-Policy"]

    assert code == 200
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", body)
    assert "url(" not in body
    assert "style=" not in body
    for tag in ("script", "style"):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", body, re.DOTALL)
        digest = base64.b64encode(sha256(block.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_answer_carries_the_strict_headers():
    for code, headers, _ in asked(*[("GET", path, {}) for path in (*PATHS, "/nowhere")]):
        assert code in {200, 404}
        for name, value in module.HEADERS.items():
            assert headers[name] == value
        assert headers["Server"] == "plimsoll"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_answered(method):
    for code, headers, _ in asked(*[(method, path, {}) for path in PATHS]):
        assert (code, headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_answered_without_a_body():
    assert [(code, body) for code, _, body in asked(*[("HEAD", path, {}) for path in PATHS])] == [(200, "")] * 4


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_a_name_that_somebody_pointed_here_gets_nothing(host):
    assert [code for code, _, _ in asked(*[("GET", path, {"Host": host}) for path in PATHS])] == [421] * 4


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:99", "localhost:8080", "[::1]:80", "LOCALHOST", "desk:80"])
def test_this_machine_may_be_called_by_its_names(host):
    assert host_allowed(host, "desk")


def test_a_taken_port_says_what_to_write_instead():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"web\.port = {port} on 127\.0\.0\.1 is taken; choose another, or 0"):
            asyncio.run(start(Status(), port=port))


def test_a_foreign_address_says_what_to_write_instead():
    with pytest.raises(ConfigError, match=r"web\.host = '192\.0\.2\.1' is not an address of this machine"):
        asyncio.run(start(Status(), host="192.0.2.1", port=0))


def test_only_this_machine_is_served_by_default():
    async def run():
        server = await start(Status(), port=0)
        try:
            return server.url
        finally:
            await server.close()
            await server.close()

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", asyncio.run(run()))


def test_an_empty_status_is_shown_as_well():
    for path in PATHS:
        assert get(path, Status())[0] == 200
