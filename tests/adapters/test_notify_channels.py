"""What each channel sends, against a web server and an SMTP server that are real."""

import asyncio
import email
import email.policy
import json
import time

import msgspec
import pytest

from adapters.ctrader.secret import Secret
from adapters.ctrader.venue.certificates import make
from adapters.notify.channels import email as mail
from adapters.notify.channels import log, slack, telegram, webhook
from adapters.notify.contract import Notice, Undelivered
from adapters.notify.signing import VALID_S, sign, verify
from bus.errors import ConfigError
from tests.harness.aio import run, until
from tests.harness.notify import KEY, SECRET_WORD, Mailbox, Receiver, notice, place, private


def hook(folder, url, **more):
    own = webhook.Settings(enabled=True, url_file=private(folder / "u", url), key_file=private(folder / "k", KEY),
                           **more)  # fmt: skip
    return webhook.channel(own, place(folder))


def failure(channel, told=None):
    """What sending raises; None = it arrived."""

    async def send():
        try:
            await channel.send(told or notice())
        except Undelivered as error:
            return error
        return None

    return send()


# --- the signed webhook ----------------------------------------------------------------------------------------


def test_a_webhook_gets_the_notice_as_json_signed_for_this_moment(tmp_path):
    async def story():
        async with Receiver() as server:
            await hook(tmp_path, server.url).send(notice())
            return server.requests[0]

    path, headers, body = run(story())
    assert path == f"/hook/{SECRET_WORD}"
    assert msgspec.json.decode(body, type=Notice) == notice()
    assert headers["Content-Type"] == "application/json"
    assert headers["Plimsoll-Id"] == "id-0"
    assert abs(int(headers["Plimsoll-Timestamp"]) - time.time()) < 60
    assert verify(Secret(KEY), headers, body, time.time())
    assert KEY not in str(headers)


def test_a_signature_holds_for_its_key_body_id_and_five_minutes_alone():
    key, body = Secret(KEY), b'{"a":1}'
    headers = sign(key, "id-1", body, 1_000_000)
    assert verify(key, headers, body, 1_000_000 + VALID_S)
    assert verify(key, headers, body, 1_000_000 - VALID_S)
    assert not verify(key, headers, body, 1_000_001 + VALID_S)
    assert not verify(key, headers, body, 999_999 - VALID_S)
    assert not verify(Secret(KEY + "x"), headers, body, 1_000_000)
    assert not verify(key, headers, body + b" ", 1_000_000)
    assert not verify(key, headers | {"Plimsoll-Id": "id-2"}, body, 1_000_000)
    assert not verify(key, headers | {"Plimsoll-Timestamp": "1000001"}, body, 1_000_000)
    for strange in ("", "x", "-1", "1e6", "9" * 40):
        assert not verify(key, headers | {"Plimsoll-Timestamp": strange}, body, 1_000_000)
    assert not verify(key, {}, body, 1_000_000)


def test_the_signature_is_the_one_that_is_documented():
    """Computed by hand, with nothing of ours: what `docs/alerts.md` tells a receiver to do."""
    import hashlib
    import hmac

    body = b'{"a":1}'
    headers = sign(Secret("k" * 16), "id-1", body, 1_700_000_000)
    by_hand = hmac.new(b"k" * 16, b"v1.1700000000.id-1." + body, hashlib.sha256).hexdigest()
    assert headers["Plimsoll-Signature"] == f"v1={by_hand}"


def test_a_short_key_is_refused(tmp_path):
    own = webhook.Settings(enabled=True, url_file=private(tmp_path / "u", "https://x.example/"),
                           key_file=private(tmp_path / "k", "short"))  # fmt: skip
    with pytest.raises(ConfigError, match="openssl rand"):
        webhook.channel(own, place(tmp_path))


@pytest.mark.parametrize(
    ("behaviour", "final", "asked"),
    [
        (301, True, None),
        (404, True, None),
        (410, True, None),
        (408, False, None),
        (500, False, None),
        (503, False, None),
        ((429, {"Retry-After": "7"}), False, 7),
        ((503, {"Retry-After": "soon"}), False, None),
        ((400, {"Retry-After": "7"}), True, None),
        ((429, {"Retry-After": "9" * 30}), False, 999_999_999),
        ("reset", False, None),
    ],
)
def test_an_answer_says_whether_another_attempt_makes_sense_and_when(behaviour, final, asked, tmp_path):
    async def story():
        async with Receiver(behaviour) as server:
            return await failure(hook(tmp_path, server.url)), len(server.requests)

    error, requests = run(story())
    assert (error.final, error.retry_after_s) == (final, asked)
    assert requests == 1, "the library sends nothing twice and follows nothing"


def test_a_date_to_wait_for_is_understood(tmp_path):
    when = email.utils.formatdate(time.time() + 90, usegmt=True)

    async def story():
        async with Receiver((429, {"Retry-After": when})) as server:
            return await failure(hook(tmp_path, server.url))

    assert 60 < run(story()).retry_after_s <= 90


def test_an_answer_without_end_is_read_up_to_a_limit(tmp_path):
    async def story():
        async with Receiver((200, {}, "x" * 3_000_000)) as server:
            return await failure(hook(tmp_path, server.url))

    assert run(story()) is None


def tls_receiver(folder):
    """A receiver behind TLS with a private authority; the authority's file and the server's context."""
    folder.mkdir(mode=0o700)
    return make(folder)


def test_a_certificate_that_nobody_vouches_for_gets_nothing(tmp_path):
    ca_file, context = tls_receiver(tmp_path / "tls")
    served = []

    async def answer(reader, writer):
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def story():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/{SECRET_WORD}"
        async with server:
            stranger = await failure(hook(tmp_path, url))
            known = await failure(hook(tmp_path, url, ca_file=str(ca_file)))
            await asyncio.sleep(0)
        return stranger, known

    stranger, known = run(story())
    assert stranger.reason == "the receiver's certificate is not to be trusted"
    assert known is None
    assert len(served) == 1


# --- Slack and Telegram ----------------------------------------------------------------------------------------


def test_slack_gets_text_in_which_nothing_is_markup(tmp_path):
    async def story():
        async with Receiver((200, {}, "ok")) as server:
            own = slack.Settings(enabled=True, url_file=private(tmp_path / "u", server.url))
            await slack.channel(own, place(tmp_path)).send(notice(value="<!channel> a & b"))
            return json.loads(server.bodies[0])["text"]

    text = run(story())
    assert text.splitlines()[0] == "[demo 0007] ALERT critical: disk /data"
    assert "met: &lt;!channel&gt; a &amp; b" in text
    assert text.splitlines()[-1] == "to do: make room now"


def test_telegram_gets_the_chat_and_says_itself_how_long_to_wait(tmp_path):
    busy = (429, {}, json.dumps({"ok": False, "parameters": {"retry_after": 11}}))

    async def story():
        async with Receiver((200, {}, '{"ok":true}'), busy, (502, {}, "<html>"), 403) as server:
            own = telegram.Settings(enabled=True, token_file=private(tmp_path / "t", "12:" + SECRET_WORD),
                                    chat_id="@desk", api_url=f"http://127.0.0.1:{server.port}/")  # fmt: skip
            channel = telegram.channel(own, place(tmp_path))
            return [await failure(channel) for _ in range(4)], server.requests[0]

    (sent, waits, broken, barred), (path, _, body) = run(story())
    assert path == f"/bot12:{SECRET_WORD}/sendMessage"
    assert json.loads(body)["chat_id"] == "@desk"
    assert sent is None
    assert (waits.retry_after_s, waits.final) == (11, False)
    assert (broken.retry_after_s, broken.final, barred.final) == (None, False, True)


def test_what_is_over_has_nothing_to_do(tmp_path):
    lines = []
    run(log.channel(log.Settings(), place(tmp_path, lines)).send(notice(event="cleared")))
    assert lines == ["[demo 0007] over critical: disk /data (12 MB free; limit 1000 MB)"]


# --- e-mail ----------------------------------------------------------------------------------------------------


def settings_for(server, folder, **more):
    values = {"enabled": True, "host": "127.0.0.1", "port": server.port, "sender": "plimsoll@example.org",
              "recipients": ("ada@example.org", "bob@example.org"), "user": "ada",
              "password_file": private(folder / "p", SECRET_WORD)} | more  # fmt: skip
    return mail.Settings(**values)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_is_encrypted_verified_and_logged_in_for(security, tmp_path):
    ca_file, context = tls_receiver(tmp_path / "tls")

    async def story():
        async with Mailbox(tls=context, implicit=security == "tls") as server:
            own = settings_for(server, tmp_path, security=security, ca_file=str(ca_file))
            error = await failure(mail.channel(own, place(tmp_path)))
            return server, error

    server, error = run(story())
    assert error is None
    assert (server.logins, server.encrypted) == (["ada"], [True])
    (envelope,) = server.mails
    assert envelope.rcpt_tos == ["ada@example.org", "bob@example.org"]
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["Subject"] == "[demo 0007] ALERT critical: disk /data"
    assert message["Message-ID"] == "<id-0@plimsoll>"
    assert "to do: make room now" in message.get_content()
    assert SECRET_WORD.encode() not in envelope.content


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_server_with_a_strange_certificate_learns_no_password(security, tmp_path):
    _, context = tls_receiver(tmp_path / "tls")

    async def story():
        async with Mailbox(tls=context, implicit=security == "tls") as server:
            own = settings_for(server, tmp_path, security=security)
            return server, await failure(mail.channel(own, place(tmp_path)))

    server, error = run(story())
    assert error is not None
    assert (server.logins, server.mails) == ([], [])


def test_a_mail_server_that_offers_no_encryption_gets_nothing(tmp_path):
    async def story():
        async with Mailbox() as server:
            return server, await failure(mail.channel(settings_for(server, tmp_path), place(tmp_path)))

    server, error = run(story())
    assert error is not None
    assert (server.logins, server.mails) == ([], [])


@pytest.mark.parametrize(
    ("answer", "final"), [("451 later", False), ("421 busy", False), ("554 never", True), ("552 full", True)]
)
def test_an_smtp_code_says_whether_another_attempt_makes_sense(answer, final, tmp_path):
    async def story():
        async with Mailbox(answer) as server:
            own = settings_for(server, tmp_path, security="none", user="")
            return await failure(mail.channel(own, place(tmp_path)))

    error = run(story())
    assert (error.reason, error.final) == (f"SMTP {answer[:3]}", final)


def test_a_wrong_password_is_final_and_not_repeated_in_words(tmp_path):
    ca_file, context = tls_receiver(tmp_path / "tls")

    async def story():
        async with Mailbox(tls=context, password="another") as server:
            own = settings_for(server, tmp_path, ca_file=str(ca_file))
            return await failure(mail.channel(own, place(tmp_path)))

    error = run(story())
    assert (error.reason, error.final) == ("SMTP 535", True)


def test_a_mail_server_that_hangs_is_left_without_a_trace(tmp_path):
    async def story():
        async with Mailbox("hang") as server:
            channel = mail.channel(settings_for(server, tmp_path, security="none", user=""), place(tmp_path))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await channel.send(notice())
            await until(lambda: server.lost == 1)

    run(story())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": ""}, "alerts.email.host is empty"),
        ({"recipients": ()}, "alerts.email.recipients is empty"),
        ({"sender": ""}, "alerts.email.sender is empty"),
        ({"security": "none", "host": "mail.example.org"}, "alerts.email.security = 'none' with host mail.example.org"),
    ],
)
def test_a_mail_that_cannot_be_meant_is_refused(changes, says, tmp_path):
    class Nowhere:
        port = 25

    with pytest.raises(ConfigError) as error:
        mail.channel(settings_for(Nowhere, tmp_path, **changes), place(tmp_path))
    assert str(error.value).startswith(says)


# --- the log ---------------------------------------------------------------------------------------------------


def test_the_log_is_json_lines_that_only_we_may_read(tmp_path):
    lines = []
    channel = log.channel(log.Settings(), place(tmp_path, lines))
    run(channel.send(notice(1)))
    run(channel.send(notice(2, value="a\nb")))
    file = tmp_path / log.FILE_NAME
    assert file.stat().st_mode & 0o777 == 0o600
    told = [msgspec.json.decode(line, type=Notice) for line in file.read_bytes().splitlines()]
    assert told == [notice(1), notice(2, value="a\nb")]
    assert len(lines) == 2


def test_a_log_that_cannot_be_written_is_undelivered(tmp_path):
    (tmp_path / log.FILE_NAME).mkdir()
    error = run(failure(log.channel(log.Settings(), place(tmp_path))))
    assert "cannot be written" in error.reason
