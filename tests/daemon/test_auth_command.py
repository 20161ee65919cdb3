"""`plimsoll auth`: log in in a browser, see how long it lasts, refresh, log out; and survive being killed."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bus.errors import ConfigError, Refused
from daemon import cli as cli_module
from daemon.cli import cli
from daemon.commands import auth
from daemon.config import load
from daemon.consent import open_store
from tests.harness.auth import CLIENT_SECRET, TokenServer
from tests.harness.tokens import MARK

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    with TokenServer() as server:
        yield server


@pytest.fixture
def home(tmp_path, monkeypatch, server):
    """A user with a configuration, and a browser in which they say yes."""
    for name in ("PLIMSOLL_PROFILE", "PLIMSOLL_STATE", "CREDENTIALS_DIRECTORY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(auth.webbrowser, "open", server.say_yes)
    (tmp_path / "secret").write_text(CLIENT_SECRET)
    (tmp_path / "secret").chmod(0o600)
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "plimsoll.toml").write_text(
        f"state = '{tmp_path}/state'\n[ctrader]\nclient_id = 'app'\nclient_secret_file = '{tmp_path}/secret'\n"
        f"token_url = '{server.url}'\nredirect_port = {port}\n"
    )
    return tmp_path


def plimsoll(*arguments, **options):
    done = CliRunner().invoke(cli, ["auth", *arguments], standalone_mode=False, **options)
    if done.exception:
        raise done.exception
    return done


def served(server):
    """Does the broker accept what a fresh process would sign in with?"""
    store = open_store(load())
    return store is not None and server.broker.accepts(store.peek().active.pair.access)


def test_a_user_logs_in_sees_it_refreshes_and_logs_out(home, server):
    done = plimsoll("login", "--json")
    assert json.loads(done.stdout) == {"logged_in": True, "spare": True}
    assert "Connected" in server.page
    assert served(server)

    told = json.loads(plimsoll("status", "--json").stdout)
    assert (told["spare"], told["expired"], told["accounts"], told["lost"]) == (True, False, [], [])
    shown = plimsoll("status").stdout
    assert "spare         stands by, last worked 20" in shown
    assert (
        f"store         {home}/state/ctrader/tokens, sealed with the key from file {home}/config/plimsoll/keys/"
        in shown
    )

    before = server.refreshes
    assert "refreshed; access until 20" in plimsoll("refresh").stdout
    assert server.refreshes == before + 2
    assert served(server)

    assert "removed" in plimsoll("logout").stdout
    assert [path.name for path in (home / "state").rglob("*") if path.is_file()] == ["tokens.lock"]
    assert not list((home / "config").rglob("*.key"))
    done = plimsoll("status")
    assert done.return_value == 1
    assert "nobody is logged in; run `plimsoll auth login`" in done.stdout
    assert "nobody was logged in" in plimsoll("logout").stdout


def test_no_command_shows_a_token_and_no_file_holds_one(home, caplog):
    caplog.set_level("DEBUG")
    outputs = [plimsoll(*words).output for words in (["login"], ["status"], ["status", "--json"], ["refresh"])]
    outputs.append(CliRunner().invoke(cli, ["config", "show"]).output)

    assert MARK not in caplog.text
    assert not any(MARK in output for output in outputs)
    assert not any(
        MARK.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "secret"
    )


def test_without_a_browser_the_address_is_printed(home, server, monkeypatch):
    seen, echo = [], click.echo

    def read_the_terminal(message="", **options):
        echo(message, **options)
        if "http" in str(message) and "\n" in str(message):
            seen.append(message)
            server.say_yes(message.splitlines()[-1])

    monkeypatch.setattr(auth.click, "echo", read_the_terminal)
    monkeypatch.setattr(auth.webbrowser, "open", lambda url: pytest.fail("no browser was wanted"))
    plimsoll("login", "--no-browser", "--no-spare")

    assert len(seen) == 1
    assert seen[0].startswith("open this in a browser:\nhttps://id.ctrader.com/my/settings/openapi/grantingaccess/?")
    assert json.loads(plimsoll("status", "--json").stdout)["spare"] is False


def test_the_client_secret_is_asked_for_unseen_and_kept_sealed(home, server, monkeypatch):
    path = home / "plimsoll.toml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("client_secret")))
    with pytest.raises(ConfigError, match="write it to a file of mode 0600"):
        plimsoll("login")

    prompts = []
    monkeypatch.setattr(auth, "_has_terminal", lambda: True)
    monkeypatch.setattr(auth.click, "prompt", lambda text, **options: prompts.append(options) or CLIENT_SECRET)
    plimsoll("login")
    plimsoll("refresh")

    assert [options["hide_input"] for options in prompts] == [True]
    assert served(server)
    assert MARK.encode() not in (home / "state" / "ctrader" / "tokens").read_bytes()


def test_tokens_from_elsewhere_are_taken_from_a_private_file_or_standard_input(home, server):
    (home / "plimsoll.toml").write_text(
        "\n".join(
            line for line in (home / "plimsoll.toml").read_text().splitlines() if not line.startswith("client_secret")
        )
    )
    line = {"client_secret": CLIENT_SECRET, "refresh_token": server.broker.consent().refresh.reveal()}
    file = home / "venue.json"
    file.write_text(json.dumps(line))
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="run: chmod 600"):
        plimsoll("login", "--from", str(file))
    file.chmod(0o600)
    assert json.loads(plimsoll("login", "--from", str(file), "--json").stdout)["logged_in"]
    assert served(server)
    with pytest.raises(Refused, match="CH_ACCESS_TOKEN_INVALID: no such token; run `plimsoll auth login` again"):
        plimsoll("login", "--from", str(file))
    assert served(server), "a login that fails leaves what there was"

    again = json.dumps({"refreshToken": server.broker.consent().refresh.reveal()})
    plimsoll("login", "--from", "-", input=again)
    assert served(server)
    plimsoll("refresh")
    assert served(server)
    with pytest.raises(ConfigError, match="no JSON object"):
        plimsoll("login", "--from", "-", input="TOKENMARK")
    with pytest.raises(ConfigError, match="names no refreshToken"):
        plimsoll("login", "--from", "-", input="{}")


def test_mistakes_are_one_line_with_a_way_out(home, server, monkeypatch):
    with pytest.raises(Exception, match="nobody is logged in; run `plimsoll auth login`"):
        plimsoll("refresh")
    monkeypatch.setattr(server, "say_yes", lambda url: True)
    monkeypatch.setattr(auth.webbrowser, "open", lambda url: True)
    with pytest.raises(Refused, match="nobody answered within 1 s; run this again"):
        plimsoll("login", "--timeout", "1")
    (home / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="run: chmod 600"):
        plimsoll("login")
    (home / "plimsoll.toml").write_text("")
    with pytest.raises(ConfigError, match="ctrader.client_id is empty"):
        plimsoll("login")


def test_a_lost_key_is_named_and_logging_out_and_in_mends_it(home, server):
    plimsoll("login")
    for key in (home / "config").rglob("*.key"):
        key.unlink()
    with pytest.raises(ConfigError, match="no key for them.* run `plimsoll auth logout`, then `plimsoll auth login`"):
        plimsoll("status")

    plimsoll("logout")
    plimsoll("login")
    assert served(server)


def test_an_expected_error_ends_the_command_with_one_line(home, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["plimsoll", "auth", "refresh"])

    assert cli_module.main() == 1
    assert capsys.readouterr().err == "plimsoll: nobody is logged in; run `plimsoll auth login`\n"


# --- killed ----------------------------------------------------------------------------------------------------

ZYGOTE = """
import os, sys
import daemon.cli, daemon.consent, daemon.commands.auth, adapters.ctrader.oauth, asyncio
sys.argv = ["plimsoll", "auth", "refresh"]
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(daemon.cli.main())
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


def test_a_process_killed_at_any_moment_of_a_refresh_leaves_access(home, server):
    """Real processes, a real disk, SIGKILL. A kill may cost a grant; a login is done when one did, as users do."""
    plimsoll("login")
    rng = random.Random(7)
    legs, killed_at, logins = ["arrived", "rotated", "answered", "any"], [], 0
    victim, wanted, proc = [0], [("", 0, 0.0)], []

    def kill(leg):
        wanted_leg, nth, delay_s = wanted[0]
        if leg == wanted_leg and server.refreshes - before == nth:
            proc.append(Path(f"/proc/{victim[0]}/cmdline").read_bytes())
            proc.append(Path(f"/proc/{victim[0]}/environ").read_bytes())
            time.sleep(delay_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim[0], signal.SIGKILL)
            killed_at.append(leg)

    server.kill = kill
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=environment, cwd=home,
    ) as zygote:  # fmt: skip
        assert zygote.stdout.readline() == "ready\n"
        for index in range(32):
            leg, before = legs[index % 4], server.refreshes
            wanted[0] = (leg, rng.choice([1, 2]), rng.choice([0, rng.random() * 0.004]))
            zygote.stdin.write("go\n")
            zygote.stdin.flush()
            victim[0] = int(zygote.stdout.readline())
            if leg == "any":
                timer = threading.Timer(rng.random() * 0.1, os.kill, (victim[0], signal.SIGKILL))
                timer.start()
            assert zygote.stdout.readline() == "ended\n"
            if leg == "any":
                timer.cancel()
                timer.join()
            wanted[0] = ("", 0, 0.0)

            settle(home)

            assert served(server), f"kill {index}: {leg}"
            files = [path for path in (home / "state").rglob("*") if path.is_file()]
            assert sorted(path.name for path in files) == ["tokens", "tokens.lock"]
            assert not any(MARK.encode() in path.read_bytes() for path in files)
            if not json.loads(plimsoll("status", "--json").stdout)["spare"]:
                plimsoll("login")
                logins += 1
        zygote.stdin.close()
    server.kill = lambda leg: None
    assert set(killed_at) == {"arrived", "rotated", "answered"}
    assert not any(MARK.encode() in shown for shown in proc)
    assert logins > 2, "no answer was ever lost: the test tests nothing"


def settle(home):
    """What the daemon does when it starts: ask for a token that lives."""
    import asyncio

    from daemon.consent import open_keeper

    config = load()
    asyncio.run(open_keeper(config, open_store(config)).access_token())
