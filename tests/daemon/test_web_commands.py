"""An operator halts and resumes by the web page's address, with a token."""

import asyncio
import json

import aiohttp
import pytest

from bus.messages import HaltLevel, HaltTrading, ResumeTrading
from daemon.control import Control, token_of
from daemon.state import State
from daemon.status import Status
from daemon.web import Commands, start

WISH = {"operator": "mo", "reason": "drill"}


def posted(folder, *requests):
    """Post bodies to a running server; gives what each was answered, and what the shell was told."""
    told, state = [], State(folder)
    state.create()
    token = token_of(folder)

    async def run():
        server = await start(Status(), port=0, commands=Commands(Control(told.append, state, None), token))
        found = []
        try:
            async with aiohttp.ClientSession() as session:
                for path, body, headers in requests:
                    given = {"Authorization": f"Bearer {token}", **headers}
                    data = body if isinstance(body, bytes) else json.dumps(body).encode()
                    async with session.post(server.url.rstrip("/") + path, data=data, headers=given) as answer:
                        found.append((answer.status, (await answer.json())["said"] if answer.status != 405 else ""))
        finally:
            await server.close()
        return found

    return asyncio.run(run()), told


@pytest.mark.parametrize(
    ("more", "level"), [({}, HaltLevel.FLATTEN), ({"level": "cancel-entries"}, HaltLevel.CANCEL_ENTRIES)]
)
def test_a_halt_reaches_the_shell(tmp_path, more, level):
    answers, told = posted(tmp_path, ("/api/halt", {**WISH, **more}, {}))

    assert answers[0][0] == 200
    assert told == [HaltTrading(level=level, source="web", operator="mo", reason="drill", ts_init_ns=0)]


def test_a_halt_needs_neither_name_nor_reason(tmp_path):
    answers, told = posted(tmp_path, ("/api/halt", {}, {}))

    assert answers[0][0] == 200
    assert told[0].level is HaltLevel.FLATTEN


def test_resuming_takes_a_name_and_a_reason(tmp_path):
    State(tmp_path).halt(HaltLevel.FLATTEN, "mo", "news")
    answers, told = posted(
        tmp_path, ("/api/resume", {**WISH, "reason": " "}, {}), ("/api/resume", {"reason": "x"}, {}),
        ("/api/resume", WISH, {}),
    )  # fmt: skip

    assert [code for code, _ in answers] == [400, 400, 200]
    assert "needs a reason" in answers[0][1]
    assert "needs a named operator" in answers[1][1]
    assert [type(each) for each in told] == [ResumeTrading]
    assert State(tmp_path).halted() is None


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic bW86bW8="])
def test_without_the_token_nothing_is_done(tmp_path, header):
    answers, told = posted(
        tmp_path, *[(path, WISH, {"Authorization": header}) for path in ("/api/halt", "/api/resume")]
    )

    assert [code for code, _ in answers] == [401, 401]
    assert told == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"operator": 1}', b'{"level": "all"}', b'{"volume": 1}'])
def test_a_body_that_is_not_understood_is_refused_and_does_nothing(tmp_path, body):
    answers, told = posted(tmp_path, ("/api/halt", body, {}))

    assert answers[0][0] == 400
    assert told == []


def test_commands_go_nowhere_else_and_a_page_of_another_name_sends_none(tmp_path):
    answers, told = posted(tmp_path, ("/api/status", WISH, {}), ("/", WISH, {}))

    assert [code for code, _ in answers] == [405, 405]
    assert told == []
