"""Tokens rest sealed, in files that nobody else may read, under a key from where the user keeps keys."""

import os
import stat
import subprocess
import sys

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from adapters.ctrader import keys
from adapters.ctrader.tokenstore import remove
from adapters.ctrader.vault import ROOM_BYTES, PrivateFolder, Sealed, Sealer, read_private
from bus.errors import ConfigError
from tests.harness.tokens import MARK, Desk

NAME = "store of a test"


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch):
    for name in ("CREDENTIALS_DIRECTORY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(folder=PrivateFolder(tmp_path / "ctrader"))
    desk.log_in()
    desk.run("refresh")
    return desk


class Ring(KeyringBackend):
    priority = 5

    def __init__(self):
        self.kept = {}
        self.locked = False

    def get_password(self, service, username):
        if self.locked:
            raise KeyringLocked("hunter2")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


@pytest.fixture
def ring(monkeypatch):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    ring, before = Ring(), keyring.get_keyring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_only_the_store_and_its_lock_are_left_and_no_token_stands_in_them(desk, tmp_path):
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    assert [path.name for path in files] == ["tokens", "tokens.lock"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert stat.S_IMODE((tmp_path / "ctrader").stat().st_mode) == 0o700
    assert not any(MARK.encode() in path.read_bytes() for path in files)
    assert desk.broker.accepts(desk.run())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_store_that_others_may_open_is_refused_with_what_to_do(desk, tmp_path, mode):
    path = tmp_path / "ctrader" / "tokens"
    path.chmod(mode)

    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\); run: chmod 600 "):
        desk.run()


def test_a_folder_that_others_may_write_to_and_a_link_in_place_of_the_store_are_refused(desk, tmp_path):
    path = tmp_path / "ctrader" / "tokens"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="it is a symbolic link"):
        desk.run()

    (tmp_path / "ctrader").chmod(0o777)
    with pytest.raises(ConfigError, match="run: chmod 700"):
        PrivateFolder(tmp_path / "ctrader")


@pytest.mark.parametrize("at", [0, 20, 60, 1_000, -1])
def test_a_changed_byte_anywhere_is_noticed(desk, tmp_path, at):
    path = tmp_path / "ctrader" / "tokens"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="damaged|another key") as caught:
        desk.run()
    assert "run `plimsoll auth logout`, then `plimsoll auth login`" in str(caught.value)


def test_the_wrong_key_is_told_from_damage_and_says_where_the_right_one_was(tmp_path):
    folder = PrivateFolder(tmp_path / "ctrader")
    with Sealed(folder, Sealer(b"a" * 32, "the keyring"), "tokens").reserve() as room:
        room.commit(b"{}")

    with pytest.raises(ConfigError, match="another key .from the keyring. than the one from file k"):
        Sealed(folder, Sealer(b"b" * 32, "file k"), "tokens").read()


def test_every_sealed_file_has_one_size_and_never_the_same_bytes(tmp_path):
    sealer = Sealer(b"a" * 32, "a test")
    sealed = {sealer.seal(b"x" * size) for size in (0, 1, 1, ROOM_BYTES)}

    assert len(sealed) == 4
    assert len({len(each) for each in sealed}) == 1
    with pytest.raises(ConfigError, match="more than"):
        sealer.seal(bytes(ROOM_BYTES + 1))


def test_the_kernel_lets_go_of_the_lock_of_a_process_that_dies(tmp_path):
    folder = PrivateFolder(tmp_path)
    script = (
        "import sys, pathlib; from adapters.ctrader.vault import PrivateFolder;"
        "assert PrivateFolder(pathlib.Path(sys.argv[1])).try_lock('tokens.lock') is not None;"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert folder.try_lock("tokens.lock") is None
        process.kill()
        process.wait()
        assert folder.try_lock("tokens.lock") is not None


def test_logging_out_leaves_neither_the_store_nor_what_a_crash_left(desk, tmp_path):
    (tmp_path / "ctrader" / "tokens.next").write_bytes(b"unfinished")

    assert remove(desk.folder, "tokens")
    assert [path.name for path in (tmp_path / "ctrader").iterdir()] == ["tokens.lock"]
    assert not remove(desk.folder, "tokens")


# --- keys ------------------------------------------------------------------------------------------------------


def test_without_keyring_or_credential_a_key_file_is_made_that_only_we_may_read(tmp_path):
    file = tmp_path / "config" / "a.key"
    assert keys.sealer("auto", file, NAME, create=False) is None

    made = keys.sealer("auto", file, NAME, create=True)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["a.key"]
    assert keys.sealer("auto", file, NAME, create=False).key_id == made.key_id
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.sealer("auto", file, NAME, create=True)
    keys.forget("auto", file, NAME)
    assert not file.exists()


def test_a_short_key_is_refused(tmp_path):
    file = tmp_path / "a.key"
    file.write_bytes(b"hunter2")
    file.chmod(0o600)

    with pytest.raises(ConfigError, match="has 7 bytes; it needs 32") as caught:
        keys.sealer("file", file, NAME, create=False)
    assert "hunter2" not in str(caught.value)


def test_the_service_managers_credential_comes_first(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="LoadCredentialEncrypted="):
        keys.sealer("credential", tmp_path / "k", NAME, create=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / keys.KEY_CREDENTIAL).write_bytes(bytes(range(32)))
    (tmp_path / keys.KEY_CREDENTIAL).chmod(0o440)
    (tmp_path / keys.SECRET_CREDENTIAL).write_bytes(b"hunter2\n")
    (tmp_path / keys.SECRET_CREDENTIAL).chmod(0o400)

    assert "systemd credential" in keys.sealer("auto", tmp_path / "k", NAME, create=True).where
    assert not (tmp_path / "k").exists()
    assert keys.client_secret(None).reveal() == "hunter2"
    (tmp_path / keys.KEY_CREDENTIAL).chmod(0o444)
    with pytest.raises(ConfigError, match="read by everybody"):
        keys.sealer("auto", tmp_path / "k", NAME, create=True)


def test_a_keyring_is_used_where_one_works_and_a_locked_one_is_named(tmp_path, ring):
    assert keys.sealer("auto", tmp_path / "k", NAME, create=False) is None
    made = keys.sealer("auto", tmp_path / "k", NAME, create=True)

    assert made.where == "the keyring"
    assert not (tmp_path / "k").exists()
    assert keys.sealer("keyring", tmp_path / "k", NAME, create=False).key_id == made.key_id
    ring.locked = True
    with pytest.raises(ConfigError, match="does not answer .KeyringLocked.; unlock it") as caught:
        keys.sealer("auto", tmp_path / "k", NAME, create=False)
    assert "hunter2" not in str(caught.value)
    ring.locked = False
    keys.forget("auto", tmp_path / "k", NAME)
    assert ring.kept == {}


def test_a_client_secret_in_a_file_is_read_only_where_nobody_else_can(tmp_path):
    file = tmp_path / "secret"
    with pytest.raises(ConfigError, match="does not exist"):
        keys.client_secret(file)
    file.write_text("hunter2\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.client_secret(file)
    file.chmod(0o600)
    assert keys.client_secret(file).reveal() == "hunter2"
    file.write_bytes(b"\xff\x00")
    with pytest.raises(ConfigError, match="no line of text"):
        keys.client_secret(file)
    assert keys.client_secret(None) is None


def test_what_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(ConfigError, match="no plain file"):
        read_private(tmp_path / "pipe")
