"""Runs on every channel: a new one is tested by being listed, and by a line in `SETUPS`."""

import pkgutil
import traceback
from pathlib import Path

import msgspec
import pytest

import adapters.notify.channels
from adapters.notify import CHANNELS, open_channels
from adapters.notify.contract import ChannelSettings, Undelivered
from bus.errors import ConfigError
from daemon.alerting import channel_settings
from daemon.config import load
from tests.harness.aio import run
from tests.harness.notify import KEY, SECRET_WORD, Mailbox, Receiver, notice, place, private, settings_of

NAMES = sorted(CHANNELS)
OVER_HTTP = ("slack", "telegram", "webhook")


def server_for(name, *behaviours):
    if name == "email":
        words = {200: "250 OK", 400: "554 no", 500: "451 later"}
        return Mailbox(*(words.get(each, each) for each in behaviours))
    return Receiver(*behaviours)


async def sent(name, folder, *behaviours, **fields):
    """Send one notice through a channel to a server of those behaviours; the server, and what was raised."""
    async with server_for(name, *behaviours) as server:
        channel = CHANNELS[name].channel(settings_of(name, folder, server), place(folder))
        try:
            await channel.send(notice(**fields))
        except Undelivered as error:
            return server, error
        return server, None


def test_every_file_of_channels_is_listed():
    files = {info.name for info in pkgutil.iter_modules(adapters.notify.channels.__path__)}
    assert files == set(CHANNELS)
    assert set(channel_settings(load().alerts)) == set(CHANNELS)


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_a_section_that_is_off_but_for_the_log(name):
    own = CHANNELS[name].Settings()
    assert isinstance(own, ChannelSettings)
    assert own.enabled is (name == "log")


@pytest.mark.parametrize("name", NAMES)
def test_it_delivers(name, tmp_path):
    server, error = run(sent(name, tmp_path, 200))
    assert error is None
    seen = server.mails if name == "email" else server.requests
    assert len(seen) == (0 if name == "log" else 1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "log"])
def test_what_a_receiver_refuses_is_final_and_what_fails_it_may_go_better_later(name, tmp_path):
    _, refused = run(sent(name, tmp_path, 400))
    _, broken = run(sent(name, tmp_path, 500))
    _, reset = run(sent(name, tmp_path, "reset"))
    assert (refused.final, broken.final, reset.final) == (True, False, False)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "log"])
def test_a_receiver_that_is_not_there_is_no_error_but_a_reason(name, tmp_path):
    async def nobody():
        async with server_for(name) as server:
            own = settings_of(name, tmp_path, server)
        with pytest.raises(Undelivered) as error:
            await CHANNELS[name].channel(own, place(tmp_path)).send(notice())
        assert not error.value.final

    run(nobody())


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_shows_in_what_it_says(name, tmp_path):
    words = []
    for behaviour in (200, 400, 500, "reset"):
        server, error = run(sent(name, tmp_path, behaviour))
        words += traceback.format_exception(error) if error else []
        channel = CHANNELS[name].channel(settings_of(name, tmp_path, server), place(tmp_path))
        words.append(repr(channel) + repr(vars(channel)))
    assert SECRET_WORD not in " ".join(words)


@pytest.mark.parametrize("name", NAMES)
def test_text_that_is_long_or_strange_is_sent_and_breaks_no_line(name, tmp_path):
    strange = "x\r\nBcc: eve@example.org\r\n\x00\u202e<b>&" + "y" * 100_000
    server, error = run(sent(name, tmp_path, 200, subject=strange, value=strange, advice=strange))
    assert error is None
    if name == "email":
        assert server.mails[0].rcpt_tos == ["ada@localhost"]
        assert b"\nBcc:" not in server.mails[0].content


@pytest.mark.parametrize("name", [name for name in NAMES if name != "log"])
def test_without_its_secret_it_refuses_to_start_and_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    async def try_it():
        async with server_for(name) as server:
            return settings_of(name, tmp_path, server)

    own = run(try_it())
    files = [key for key in own.__struct_fields__ if key.endswith("_file") and key != "ca_file"]
    assert files
    for key in files:
        for gone in ("", str(tmp_path / "nothing")):
            with pytest.raises(ConfigError) as error:
                open_channels({name: msgspec.structs.replace(own, **{key: gone})}, place(tmp_path))
            assert str(error.value).startswith(f"alerts.{name}.{key}")
            assert "0600" in str(error.value)
        loose = tmp_path / "loose"
        loose.write_text(KEY)
        loose.chmod(0o644)
        with pytest.raises(ConfigError, match="chmod 600") as error:
            open_channels({name: msgspec.structs.replace(own, **{key: str(loose)})}, place(tmp_path))
        assert KEY not in str(error.value)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "log"])
def test_its_secret_may_come_from_the_service_manager(name, tmp_path, monkeypatch):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))

    def handed_over(own):
        for key in [key for key in own.__struct_fields__ if key.endswith("_file") and key != "ca_file"]:
            found = credentials / f"plimsoll-alerts-{name}-{key.removesuffix('_file')}"
            found.write_bytes(Path(getattr(own, key)).read_bytes())
            found.chmod(0o400)
            own = msgspec.structs.replace(own, **{key: ""})
        return own

    async def try_it():
        async with server_for(name) as server:
            own = handed_over(settings_of(name, tmp_path, server))
            await CHANNELS[name].channel(own, place(tmp_path)).send(notice())

    run(try_it())


@pytest.mark.parametrize("name", OVER_HTTP)
def test_secrets_travel_encrypted_or_not_at_all(name, tmp_path):
    for url in ("http://example.org/hook", "ftp://127.0.0.1/x", "not a url", "https://ada:pw@example.org/", "https://"):
        own = {"url_file": private(tmp_path / "u", url.replace(" ", "")), "key_file": private(tmp_path / "k", KEY)}
        if name == "telegram":
            own = {"token_file": private(tmp_path / "t", "1:x"), "chat_id": "1", "api_url": url}
        own = {key: value for key, value in own.items() if key in CHANNELS[name].Settings.__struct_fields__}
        with pytest.raises(ConfigError):
            CHANNELS[name].channel(CHANNELS[name].Settings(enabled=True, **own), place(tmp_path))
