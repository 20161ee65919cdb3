"""The consent, the redirect and the token endpoint, over real sockets on loopback."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import logging
import socket
import ssl
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.ctrader.grants import Issued, TokenRefused, Unanswered
from adapters.ctrader.oauth import Redirect, TokenEndpoint, check_endpoint, consent_url
from adapters.ctrader.secret import Secret
from bus.errors import ConfigError, Refused
from tests.harness.aio import run

REFRESH, CLIENT_SECRET = "refreshhunter2", "clienthunter2"


async def asked(answer, *, times=1, timeout_s=5.0):
    """What the adapter makes of an answer, and the requests the endpoint saw."""
    seen = []

    async def token(request):
        seen.append(request)
        result = answer(request) if callable(answer) else answer
        return await result if asyncio.iscoroutine(result) else result

    application = web.Application()
    application.router.add_get("/apps/token", token)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/apps/token"
    try:
        endpoint = TokenEndpoint(url, "app", Secret(CLIENT_SECRET), timeout_s=timeout_s)
        return await endpoint.refresh(Secret(REFRESH)), seen
    finally:
        await runner.cleanup()


def body(status=200, **fields):
    return lambda _: web.json_response(fields, status=status)


def test_a_refresh_is_asked_for_as_the_reference_says_and_the_pair_comes_back():
    answer, seen = run(asked(body(accessToken="a", refreshToken="r", expiresIn=2_628_000, tokenType="bearer")))

    assert answer == Issued(Secret("a"), Secret("r"), 2_628_000)
    assert dict(seen[0].query) == {
        "grant_type": "refresh_token",
        "refresh_token": REFRESH,
        "client_id": "app",
        "client_secret": CLIENT_SECRET,
    }


@pytest.mark.parametrize("status", [200, 400, 401])
def test_a_refusal_is_known_by_its_code_whatever_its_status(status):
    answer, _ = run(asked(body(status, errorCode="CH_ACCESS_TOKEN_INVALID", description=f"not {REFRESH}")))

    assert answer == TokenRefused("CH_ACCESS_TOKEN_INVALID", "not ***", "token")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (body(errorCode="CH_CLIENT_AUTH_FAILURE"), TokenRefused("CH_CLIENT_AUTH_FAILURE", "", "client")),
        (body(errorCode="BRAND_NEW"), TokenRefused("BRAND_NEW", "", "other")),
        (body(302), TokenRefused("HTTP 302", "", "other")),
    ],
)
def test_other_refusals_do_not_condemn_the_token(reply, expected):
    assert run(asked(reply))[0] == expected


def test_too_many_requests_are_waited_out():
    def busy(_):
        return web.Response(status=429, headers={"Retry-After": "120"})

    assert run(asked(busy))[0] == Unanswered(False, "it wants to be left alone (HTTP 429)", 120)


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: web.Response(text="<html>"),
        lambda _: web.Response(status=502, text="bad gateway"),
        lambda _: web.Response(body=b"x" * 100_000),
        body(accessToken="a"),
        body(accessToken="a", refreshToken="", expiresIn=5),
        body(accessToken="a", refreshToken="r", expiresIn=-5),
        body(accessToken="a" * 3_000, refreshToken="r", expiresIn=5),
        body(accessToken=["a"], refreshToken="r", expiresIn=5),
    ],
)
def test_an_answer_that_is_none_leaves_the_outcome_open(reply):
    answer, _ = run(asked(reply))

    assert isinstance(answer, Unanswered)
    assert answer.sent


def test_a_request_whose_connection_breaks_is_never_repeated_by_itself():
    def hang_up(request):
        request.transport.abort()
        return web.Response()

    answer, seen = run(asked(hang_up))

    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert len(seen) == 1


def test_a_silent_endpoint_is_given_up_and_the_outcome_stays_open():
    answer, _ = run(asked(lambda _: asyncio.sleep(60), timeout_s=0.2))

    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert "did not answer" in answer.reason


def test_a_redirect_does_not_carry_secrets_elsewhere():
    def elsewhere(request):
        raise web.HTTPFound(f"/apps/token?{request.query_string}")

    answer, seen = run(asked(elsewhere))

    assert isinstance(answer, TokenRefused)
    assert len(seen) == 1


def test_without_a_connection_nothing_was_sent_and_nothing_is_told():
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/apps/token"
        answer = run(TokenEndpoint(url, "app", Secret(CLIENT_SECRET)).refresh(Secret(REFRESH)))

    assert isinstance(answer, Unanswered)
    assert not answer.sent
    assert "hunter2" not in repr(answer)


def test_no_secret_reaches_a_log_at_the_lowest_level(caplog):
    caplog.set_level(logging.DEBUG)

    run(asked(lambda request: request.transport.abort()))
    run(asked(body(400, errorCode=REFRESH, description=CLIENT_SECRET)))

    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://openapi.ctrader.com/apps/token",
        "http://127.0.0.1.evil.com/",
        "https://u:p@host/",
        "https://host/?a=b",
        "ftp://host/",
        "nonsense",
        "",
    ],
)
def test_secrets_travel_encrypted_or_on_loopback_only(url):
    with pytest.raises(ConfigError, match="ctrader.token_url"):
        check_endpoint("ctrader.token_url", url)


@pytest.mark.parametrize("url", ["https://host/a", "http://127.0.0.1:8/a", "http://localhost/", "http://[::1]:80/"])
def test_endpoints_that_are_fit(url):
    check_endpoint("ctrader.token_url", url)


def test_an_authority_that_cannot_be_read_is_one_clear_line(tmp_path):
    for content in (None, "not a certificate"):
        if content:
            (tmp_path / "ca.pem").write_text(content)
        with pytest.raises(ConfigError, match="ctrader.ca_file .* cannot be used"):
            TokenEndpoint("https://host/", "app", Secret("s"), tmp_path / "ca.pem")


def certificate(folder, host):
    """A self-signed certificate for a host, as (context of a server, file of the authority)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca, both = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(ca.read_bytes() + private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    return context, ca


@pytest.mark.parametrize(
    ("host", "with_ca", "trusted"),
    [
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), True, True),
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), False, False),
        (x509.DNSName("elsewhere.example"), True, False),
    ],
)
def test_chain_and_host_name_are_verified_against_the_authority_that_is_configured(tmp_path, host, with_ca, trusted):
    context, ca = certificate(tmp_path, host)
    seen = []

    async def token(request):
        seen.append(request)
        return web.json_response({"accessToken": "a", "refreshToken": "r", "expiresIn": 60})

    async def scene():
        application = web.Application()
        application.router.add_get("/apps/token", token)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/apps/token"
        try:
            return await TokenEndpoint(url, "app", Secret("s"), ca if with_ca else None).refresh(Secret(REFRESH))
        finally:
            await runner.cleanup()

    answer = run(scene())
    assert len(seen) == trusted
    if trusted:
        assert isinstance(answer, Issued)
    else:
        assert not answer.sent
        assert "certificate" in answer.reason


# --- the redirect ----------------------------------------------------------------------------------------------


def test_the_consent_address_holds_what_the_broker_needs():
    url = consent_url("https://id/consent/", "app 1", "http://127.0.0.1:1/callback", "trading", "st&te")

    assert parse_qs(urlsplit(url).query) == {
        "client_id": ["app 1"],
        "redirect_uri": ["http://127.0.0.1:1/callback"],
        "scope": ["trading"],
        "product": ["web"],
        "state": ["st&te"],
    }


async def visit(redirect, query, **options):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{redirect.uri}?{query}", **options) as response,
    ):
        return response.status, await response.text()


def test_the_code_is_taken_once_and_only_with_our_state():
    async def scene():
        async with Redirect(0) as redirect:
            assert (await visit(redirect, "code=evil&state=guess"))[0] == 400
            assert (await visit(redirect, "code=evil"))[0] == 400
            right = f"code=good&state={redirect.state}"
            assert (await visit(redirect, right, headers={"Host": "evil.example"}))[0] == 410
            status, page = await visit(redirect, right)
            assert status == 200
            assert "Connected" in page
            assert "good" not in page
            assert (await visit(redirect, f"code=second&state={redirect.state}"))[0] == 410
            return await redirect.wait(5)

    assert run(scene()) == Secret("good")


def test_a_user_who_says_no_and_one_who_says_nothing_are_told_apart():
    async def no():
        async with Redirect(0) as redirect:
            _, page = await visit(redirect, f"error=access_denied&state={redirect.state}")
            assert "not allowed" in page
            await redirect.wait(5)

    async def nothing():
        async with Redirect(0) as redirect:
            await redirect.wait(0.05)

    with pytest.raises(Refused, match="NO_CONSENT: access_denied"):
        run(no())
    with pytest.raises(Refused, match="nobody answered within 0 s; run this again"):
        run(nothing())


def test_somebody_who_keeps_guessing_ends_the_login():
    async def guessing():
        async with Redirect(0) as redirect:
            for _ in range(20):
                await visit(redirect, "code=evil&state=guess")
            await redirect.wait(5)

    with pytest.raises(Refused, match="somebody else keeps answering"):
        run(guessing())


def test_a_port_that_is_taken_is_one_clear_line():
    async def twice():
        async with Redirect(0) as first, Redirect(first.port):
            pass

    with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+ .* set ctrader\.redirect_port"):
        run(twice())
