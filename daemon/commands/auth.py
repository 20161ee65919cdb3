"""`plimsoll auth`: let Plimsoll act for a broker's account, see how long it may, and end it."""

import asyncio
import os
import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bus.errors import ConfigError, Refused
from bus.values import NS_PER_S
from daemon.commands.broker import run
from daemon.commands.common import EXIT_FAILED, Settings, emit, with_settings
from daemon.config import Config

if TYPE_CHECKING:
    from adapters.ctrader.grants import Answer, Grant, Issued, Tokens
    from adapters.ctrader.secret import Secret


@click.group("auth")
def auth_group() -> None:
    """Log in to the broker (cTrader): login, status, refresh, logout."""


@auth_group.command("login")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
@click.option(
    "--no-spare", is_flag=True, help="One consent only. A crash in the worst moment then asks for a new login."
)
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 3600), default=300, show_default=True, help="Seconds.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Take the refresh token from a JSON file of mode 0600 (- = standard input), without asking for consent: what "
    "the broker's playground or `plimsoll venue --json` gave.",
)
@with_settings
def login(settings: Settings, *, no_browser: bool, no_spare: bool, timeout_s: int, source: Path | None) -> int:
    """Ask for the broker's consent in a browser and keep the tokens, encrypted.

    The broker asks twice: the second consent is a spare. A refresh token works once, so a power cut while it is being
    exchanged loses it; the spare then takes over, and nobody has to be woken.

    On a machine without a browser: forward the port with `ssh -L 8723:127.0.0.1:8723 HOST` and open the printed address
    at home.
    """
    config = settings.load()
    if source is not None:
        run(_log_in_from(config, source))
        click.echo('{"logged_in":true,"spare":false}' if settings.as_json else "logged in, without a spare")
        return 0
    spare = run(_login(config, browser=not no_browser, spare=not no_spare, timeout_s=timeout_s))
    if settings.as_json:
        emit({"logged_in": True, "spare": spare})
    else:
        click.echo("logged in, with a spare" if spare else "logged in")
        if not spare and not no_spare:
            click.echo("the broker keeps one consent at a time: there is no spare", err=True)
    return 0


async def _login(config: Config, *, browser: bool, spare: bool, timeout_s: int) -> bool:
    from daemon.consent import endpoint, given_secret, open_keeper, open_store

    endpoint(config, _no_secret())  # refuse a wrong configuration before anything is made or asked
    store = open_store(config, create=True)
    assert store is not None
    given = given_secret(config)
    before = store.peek()
    secret = given or (before.client_secret if before else None) or _prompt()
    keeper, kept = open_keeper(config, store), None if given else secret
    issued = await _consent(config, secret, browser=browser, timeout_s=timeout_s, why="")
    has_spare = await keeper.log_in(issued, kept, keep_as_spare=False)
    if spare:
        again = await _consent(config, secret, browser=browser, timeout_s=timeout_s, why=" once more, for the spare")
        has_spare = await keeper.log_in(again, kept, keep_as_spare=True)
    return has_spare


async def _log_in_from(config: Config, source: Path) -> None:
    from adapters.ctrader.secret import Secret
    from adapters.ctrader.vault import read_private
    from daemon.consent import endpoint, given_secret, open_keeper, open_store

    endpoint(config, _no_secret())
    text = sys.stdin.buffer.read(65_536) if str(source) == "-" else read_private(source, 65_536)
    try:
        found = msgspec.json.decode(text or b"", type=dict[str, Any])
    except msgspec.DecodeError:
        raise ConfigError(f"{source} is no JSON object with a refresh token") from None
    token = found.get("refreshToken") or found.get("refresh_token")
    beside = found.get("client_secret")
    if not isinstance(token, str):
        raise ConfigError(f"{source} names no refreshToken")
    store = open_store(config, create=True)
    assert store is not None
    given = given_secret(config)
    before = store.peek()
    secret = given or (Secret(beside) if isinstance(beside, str) else before.client_secret if before else None)
    secret = secret or _prompt()
    keeper = open_keeper(config, store)
    # Spent at once: only a pair of our own has a known life, and the copy in the file is then worth nothing.
    issued = _issued(await endpoint(config, secret).refresh(Secret(token)))
    await keeper.log_in(issued, None if given else secret, keep_as_spare=False)


def _no_secret() -> "Secret":
    from adapters.ctrader.secret import Secret

    return Secret("")


def _prompt() -> "Secret":
    from adapters.ctrader.secret import Secret

    if not _has_terminal():
        raise ConfigError("the client secret is not known; write it to a file of mode 0600, ctrader.client_secret_file")
    return Secret(click.prompt("client secret of the application", hide_input=True, err=True).strip())


async def _consent(config: Config, secret: "Secret", *, browser: bool, timeout_s: int, why: str) -> "Issued":
    from adapters.ctrader.oauth import Redirect, check_endpoint, consent_url
    from daemon.consent import endpoint

    section = config.ctrader
    check_endpoint("ctrader.consent_url", section.consent_url)
    async with Redirect(section.redirect_port) as redirect:
        url = consent_url(section.consent_url, section.client_id, redirect.uri, section.scope, redirect.state)
        opened = browser and _has_browser() and await asyncio.to_thread(webbrowser.open, url)
        click.echo(f"{'a browser opens' if opened else 'open this in a browser'}{why}:\n{url}", err=True)
        code = await redirect.wait(timeout_s)
        answer = await endpoint(config, secret).exchange(code, redirect.uri)
    return _issued(answer)


def _issued(answer: "Answer") -> "Issued":
    from adapters.ctrader.grants import TokenRefused, Unanswered

    if isinstance(answer, TokenRefused):
        raise Refused(answer.code, f"{answer.text or 'the broker gives no tokens'}; run `plimsoll auth login` again")
    if isinstance(answer, Unanswered):
        raise Refused("NO_ANSWER", f"{answer.reason}; run `plimsoll auth login` again")
    return answer


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def _has_browser() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@auth_group.command("status")
@with_settings
def status(settings: Settings) -> int:
    """Say until when Plimsoll may act, for which accounts, and whether a spare stands by; 1 where nobody is in."""
    from daemon.consent import open_store, places

    config = settings.load()
    store = open_store(config)
    tokens = store.peek() if store else None
    if store is None or tokens is None or tokens.active is None:
        if settings.as_json:
            emit({"logged_in": False})
        else:
            click.echo("nobody is logged in; run `plimsoll auth login`")
        return EXIT_FAILED
    told = _standing(tokens, tokens.active) | {
        "environment": config.ctrader.environment,
        "store": str(places(config).store),
        "key": store.sealed.sealer.where,
    }
    if settings.as_json:
        emit(told)
    else:
        _show(told)
    return 0


def _standing(tokens: "Tokens", active: "Grant") -> dict[str, Any]:
    spare = tokens.spare
    return {
        "logged_in": True,
        "client_id": tokens.client_id,
        "issued": _when(active.pair.issued_ns),
        "expires": _when(active.pair.expires_ns),
        "expired": active.pair.expires_ns <= int(datetime.now(UTC).timestamp()) * NS_PER_S,
        "refresh_due": _when(active.pair.due_at_ns),
        "in_doubt_since": _when(active.intent_ns) if active.in_doubt else None,
        "refused": _when(active.refused_ns) if active.refused_ns else None,
        "spare": spare is not None,
        "spare_last_worked": _when(tokens.spare_tried_ns) if spare is not None and tokens.spare_tried_ns else None,
        "accounts": [
            {"id": each.ctid_trader_account_id, "login": each.trader_login, "live": each.live, "broker": each.broker}
            for each in tokens.accounts
        ],
        "lost": [
            {
                "grant": loss.role,
                "at": _when(loss.at_ns),
                "code": loss.code,
                "cut_short": _when(loss.intent_ns) if loss.intent_ns else None,
            }
            for loss in tokens.losses
        ],
    }


def _show(told: dict[str, Any]) -> None:
    click.echo(f"application   {told['client_id']} ({told['environment']})")
    click.echo(f"access until  {told['expires']}{' (expired)' if told['expired'] else ''}, issued {told['issued']}")
    click.echo(f"refresh due   {told['refresh_due']}")
    if told["in_doubt_since"]:
        click.echo(f"in doubt      a refresh began {told['in_doubt_since']} and did not end; the next one settles it")
    if told["refused"]:
        click.echo(f"refused       {told['refused']}: this login cannot be renewed; run `plimsoll auth login`")
    tried = f", last worked {told['spare_last_worked']}" if told["spare_last_worked"] else ""
    click.echo(f"spare         {'stands by' + tried if told['spare'] else 'none; `plimsoll auth login` makes one'}")
    for each in told["accounts"]:
        kind = "live" if each["live"] else "demo"
        click.echo(
            f"account       {each['id']} (login {each['login']}, {kind}{', ' * bool(each['broker'])}{each['broker']})"
        )
    for each in told["lost"]:
        why = f"a refresh of {each['cut_short']} was cut short" if each["cut_short"] else "revoked, or used elsewhere"
        click.echo(f"lost          {each['grant']} grant, {each['at']} ({each['code']}): {why}")
    click.echo(f"store         {told['store']}, sealed with the key from {told['key']}")


@auth_group.command("refresh")
@with_settings
def refresh(settings: Settings) -> int:
    """Exchange the tokens for new ones now; they refresh by themselves well before they expire."""
    from adapters.ctrader.grants import LoginNeeded
    from daemon.consent import open_keeper, open_store

    config = settings.load()
    store = open_store(config)
    if store is None:
        raise LoginNeeded("nobody is logged in; run `plimsoll auth login`")
    keeper = open_keeper(config, store)
    run(keeper.refresh())
    tokens = store.peek()
    assert tokens is not None
    assert tokens.active is not None
    if settings.as_json:
        emit({"expires": _when(tokens.active.pair.expires_ns), "spare": tokens.spare is not None})
    else:
        click.echo(f"refreshed; access until {_when(tokens.active.pair.expires_ns)}")
    if keeper.trouble:
        click.echo(f"plimsoll: {keeper.trouble}", err=True)
    return 0


@auth_group.command("logout")
@with_settings
def logout(settings: Settings) -> int:
    """Remove the tokens and the key that opened them. What the broker granted is ended in its own settings page."""
    from daemon.consent import places, remove_store

    config = settings.load()
    removed = run(remove_store(config))
    if settings.as_json:
        emit({"removed": removed})
    else:
        click.echo(f"removed {places(config).store}" if removed else "nobody was logged in")
    return 0


def _when(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).isoformat().replace("+00:00", "Z")
