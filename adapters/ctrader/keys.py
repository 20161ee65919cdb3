"""Where the key of the token store comes from: systemd's credentials, a keyring, or a file that only we may read.

Nothing here takes a secret from the environment or from a command line: both can be read in ``/proc``.
"""

import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Literal

from adapters.ctrader.secret import Secret
from adapters.ctrader.vault import Sealer, read_private
from bus.errors import ConfigError

KeyPlace = Literal["auto", "keyring", "credential", "file"]

KEY_CREDENTIAL = "plimsoll-ctrader-key"
"""Name of the systemd credential that holds the key: ``LoadCredentialEncrypted=plimsoll-ctrader-key:...``."""

SECRET_CREDENTIAL = "plimsoll-ctrader-client-secret"  # noqa: S105 (a name, not a secret)
"""Name of the systemd credential that holds the application's client secret."""

_SERVICE = "plimsoll"
_MOST_BYTES = 4_096


def credential(name: str) -> bytes | None:
    """A systemd credential of this service; None = there is none.

    Raises:
        ConfigError: everybody may read it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = Path(folder) / name
    try:
        # The service manager guards the folder, with access lists where it can: their mask shows as a group's right.
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"credential {path} may be read by everybody; run: chmod o-rwx {path}")
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"credential {path} cannot be read: {error.strerror}") from None


def client_secret(file: Path | None) -> Secret | None:
    """The application's client secret from its file, else from systemd's credentials; None = neither is there.

    Raises:
        ConfigError: the file is missing, empty, or others may read it.
    """
    found = credential(SECRET_CREDENTIAL) if file is None else read_private(file, _MOST_BYTES)
    if found is None:
        if file is None:
            return None
        raise ConfigError(f"ctrader.client_secret_file {file} does not exist; write the client secret there, mode 0600")
    try:
        text = found.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise ConfigError(f"the client secret in {file or SECRET_CREDENTIAL} is no line of text")
    return Secret(text)


def sealer(place: KeyPlace, key_file: Path, name: str, *, create: bool) -> Sealer | None:
    """The key of the token store.

    Args:
        place: where to look; ``auto`` takes systemd's credential where there is one, else the key file where it
            exists, else the keyring where one works, else a new key file.
        key_file: of ``file`` and ``auto``.
        name: of the key in a keyring; every store has its own.
        create: make a key where there is none.

    Returns:
        None where there is no key and none was to be made.

    Raises:
        ConfigError: the key cannot be had from that place; says what to do.
    """
    if place in {"auto", "credential"}:
        found = credential(KEY_CREDENTIAL)
        if found is not None:
            return Sealer(found, f"systemd credential {KEY_CREDENTIAL}")
        if place == "credential":
            raise ConfigError(
                f"there is no systemd credential {KEY_CREDENTIAL}; make one of 32 random bytes with systemd-creds and "
                "name it in the unit as LoadCredentialEncrypted="
            )
    if place in {"auto", "file"}:
        found = read_private(key_file, _MOST_BYTES)
        if found is not None:
            return Sealer(found, f"file {key_file}")
    if place == "keyring" or (place == "auto" and _has_keyring()):
        found = _from_keyring(name, create=create)
        return None if found is None else Sealer(found, "the keyring")
    return Sealer(_new_file(key_file), f"file {key_file}") if create else None


def forget(place: KeyPlace, key_file: Path | None, name: str) -> None:
    """Remove the key that we made, so that what it sealed stays closed for ever.

    A credential is the user's, and so is a key file that the user chose (None).
    """
    if key_file is not None and place in {"auto", "file"}:
        with contextlib.suppress(OSError):
            size = key_file.stat(follow_symlinks=False).st_size
            with key_file.open("r+b") as file:
                file.write(secrets.token_bytes(min(size, _MOST_BYTES)))
                file.flush()
                os.fsync(file.fileno())
        key_file.unlink(missing_ok=True)
    if place == "keyring" or (place == "auto" and _has_keyring()):
        import keyring
        from keyring.errors import KeyringError

        with contextlib.suppress(KeyringError):
            keyring.delete_password(_SERVICE, name)


def _has_keyring() -> bool:
    """Is there a keyring that encrypts? On Linux one is asked for only in a session that can have one."""
    if sys.platform == "linux" and not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return False
    import keyring
    from keyring.backends import fail, null

    backend = keyring.get_keyring()
    plain = "plaintext" in type(backend).__name__.lower()
    return backend.priority >= 1 and not plain and not isinstance(backend, fail.Keyring | null.Keyring)


def _from_keyring(name: str, *, create: bool) -> bytes | None:
    import keyring
    from keyring.errors import KeyringError

    try:
        text = keyring.get_password(_SERVICE, name)
        if text is None and create:
            text = secrets.token_hex(32)
            keyring.set_password(_SERVICE, name, text)
    except KeyringError as error:
        raise ConfigError(
            f"the keyring does not answer ({type(error).__name__}); unlock it, or set ctrader.token_key = 'file'"
        ) from None
    return None if text is None else text.encode()


def _new_file(path: Path) -> bytes:
    material = secrets.token_bytes(32)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, material)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            path.hardlink_to(unfinished)
        finally:
            unfinished.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        found = read_private(path, _MOST_BYTES)  # another process was faster
        if found is not None:
            return found
        raise ConfigError(f"{path} came and went; run this again") from None
    except OSError as error:
        raise ConfigError(
            f"the key file {path} cannot be made: {error.strerror}; choose a place with ctrader.token_key_file"
        ) from None
    return material
