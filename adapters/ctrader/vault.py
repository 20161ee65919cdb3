"""Files that nobody else may read, whose content is sealed, and which a crash at any point leaves whole.

Theory of operation. A `Folder` is the thin layer of system calls (a test replaces it by one that loses power). A
`Sealer` encrypts with AES-256-GCM under a key from `adapters.ctrader.keys`; a sealed file begins with one readable line
that says which key opens it, and that line is authenticated with the rest. A `Sealed` file is replaced in two steps:

    reserve   ``NAME.next`` is created (mode 0600), given all the room it will need, and made durable
    commit    the sealed content is written into it, made durable, and renamed to ``NAME``

The room is taken before, so that a full disk is noticed while nothing is lost yet: between the broker's answer and the
durable record no file is created and no space is allocated (on file systems that copy on write that is a strong hint,
no promise). Content is padded, so that every sealed file has one size. A whole ``NAME.next`` that a crash left behind
is exactly as good as ``NAME``; `Sealed.recover` adopts it where it is the next generation and removes it otherwise.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bus.errors import ConfigError

ROOM_BYTES = 32_768
"""Padded size of the content: two grants with two pairs of the longest tokens, and what is said about them."""

LARGEST_FILE_BYTES = ROOM_BYTES + 4_096
_MAGIC = "plimsoll-sealed-1"
_NONCE_BYTES = 12


class Folder(Protocol):
    """The system calls that a sealed file needs, on names in one folder. Each raises ``OSError`` as the system does."""

    def read(self, name: str) -> bytes | None:
        """The content; None = no such file.

        Raises:
            ConfigError: others may read it, or it is no plain file of ours.
        """
        ...

    def reserve(self, name: str, size: int) -> int:
        """Create a new file with room for `size` bytes, durable; an open handle to it."""
        ...

    def open(self, name: str) -> int:
        """A handle to a file that is there."""
        ...

    def write(self, handle: int, data: bytes) -> None:
        """Write from the beginning; the file ends after it."""
        ...

    def sync(self, handle: int) -> None:
        """Make what was written durable."""
        ...

    def close(self, handle: int) -> None:
        """Let go of a handle."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Replace `new` by `old`, atomically, durable only after `sync_folder`."""
        ...

    def sync_folder(self) -> None:
        """Make creations, renames and removals durable."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; no error where there is none."""
        ...

    def try_lock(self, name: str) -> int | None:
        """Lock a file against other processes; None = somebody else holds it. The lock ends with the process."""
        ...


def check_private(path: Path, found: os.stat_result) -> None:
    """Refuse a file that others may read or that is not ours.

    Raises:
        ConfigError: what is wrong with it and what to do.
    """
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no plain file; remove it, or choose another place")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}; run as its owner")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"{path} holds secrets and others may open it (mode {mode:04o}); run: chmod 600 {path}")


def read_private(path: Path, most_bytes: int = LARGEST_FILE_BYTES) -> bytes | None:
    """Read a small file that only we may read; None = there is none.

    Raises:
        ConfigError: it is readable by others, not ours, no plain file, too large, or cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise ConfigError(f"{path} cannot be read: {reason}") from None
    try:
        found = os.fstat(fd)
        check_private(path, found)
        if found.st_size > most_bytes:
            raise ConfigError(f"{path} has more than {most_bytes} bytes; it is not what it should be")
        return os.read(fd, most_bytes)
    finally:
        os.close(fd)


class PrivateFolder:
    """A real folder, made with mode 0700 where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
        except OSError as error:
            raise ConfigError(f"cannot use {path} for tokens: {error.strerror}; choose another place") from None
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(f"others may write to {path}, where tokens rest; run: chmod 700 {path}")

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        return read_private(self.path / name)

    def reserve(self, name: str, size: int) -> int:
        """See `Folder`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self.path / name, flags, 0o600)
        try:
            try:
                os.posix_fallocate(handle, 0, size)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                    raise
                os.pwrite(handle, bytes(size), 0)
            os.fsync(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def open(self, name: str) -> int:
        """See `Folder`."""
        return os.open(self.path / name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, handle: int, data: bytes) -> None:
        """See `Folder`."""
        done = 0
        while done < len(data):
            done += os.pwrite(handle, data[done:], done)
        os.ftruncate(handle, len(data))

    def sync(self, handle: int) -> None:
        """See `Folder`."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """See `Folder`."""
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """See `Folder`."""
        (self.path / old).replace(self.path / new)

    def sync_folder(self) -> None:
        """See `Folder`."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, name: str) -> None:
        """See `Folder`."""
        (self.path / name).unlink(missing_ok=True)

    def try_lock(self, name: str) -> int | None:
        """See `Folder`."""
        fd = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return fd


def shred(folder: Folder, name: str) -> bool:
    """Overwrite a file once and remove it. Was it there?

    Best effort: journals, snapshots and flash keep copies. What really ends the content is that its key is removed.
    """
    try:
        handle = folder.open(name)
    except OSError:
        return False
    try:
        with contextlib.suppress(OSError):
            folder.write(handle, secrets.token_bytes(LARGEST_FILE_BYTES))
            folder.sync(handle)
    finally:
        folder.close(handle)
    folder.remove(name)
    folder.sync_folder()
    return True


class Sealer:
    """Encrypts and opens, with AES-256-GCM under a key derived (HKDF-SHA256) from the given material.

    Args:
        material: at least 32 bytes that nobody can guess.
        where: the place the key came from, in words that may be shown; it is written before the sealed content.
    """

    def __init__(self, material: bytes, where: str) -> None:
        if len(material) < 32:
            raise ConfigError(f"the key from {where} has {len(material)} bytes; it needs 32 random ones")
        self.where = where
        self.key_id = _derive(material, b"plimsoll token store: key id").hex()[:16]
        self._box = AESGCM(_derive(material, b"plimsoll token store: AES-256-GCM"))

    def seal(self, content: bytes) -> bytes:
        """Encrypt under a fresh nonce, padded to `ROOM_BYTES`."""
        if len(content) > ROOM_BYTES:
            raise ConfigError(f"{len(content)} bytes of tokens are more than the {ROOM_BYTES} that the store holds")
        head = f"{_MAGIC} {self.key_id} {self.where}\n".encode()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return head + nonce + self._box.encrypt(nonce, content.ljust(ROOM_BYTES), head)

    def open(self, sealed: bytes) -> bytes | None:
        """The content with its padding; None = not sealed by this key, or damaged."""
        head, newline, rest = sealed.partition(b"\n")
        if not newline or len(rest) < _NONCE_BYTES:
            return None
        try:
            return self._box.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head + newline)
        except InvalidTag:
            return None


def _derive(material: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(material)


def sealed_with(sealed: bytes) -> tuple[str, str] | None:
    """Key id and place of the key that opens a sealed file; None = this is no sealed file."""
    head = sealed.partition(b"\n")[0].decode(errors="replace").split(" ", 2)
    return (head[1], head[2]) if len(head) == 3 and head[0] == _MAGIC else None


class Sealed:
    """One sealed file in a folder. Every method but `read` needs the lock.

    Args:
        name: of the file; its unfinished successor is ``NAME.next``, its lock ``NAME.lock``.
    """

    def __init__(self, folder: Folder, sealer: Sealer, name: str) -> None:
        self.folder = folder
        self.sealer = sealer
        self.name = name
        self.next = f"{name}.next"

    def read(self) -> bytes | None:
        """The content; None = there is no file.

        Raises:
            ConfigError: it cannot be opened with this key, or others may read it.
        """
        found = self.folder.read(self.name)
        if found is None:
            return None
        content = self.sealer.open(found)
        if content is None:
            raise ConfigError(self._why_closed(found))
        return content

    def _why_closed(self, found: bytes) -> str:
        key = sealed_with(found)
        again = "run `plimsoll auth logout`, then `plimsoll auth login`"
        if key is None:
            return f"the token store {self.name} is damaged; {again}"
        if key[0] != self.sealer.key_id:
            return (
                f"the tokens are sealed with another key (from {key[1]}) than the one from {self.sealer.where}; "
                f"set ctrader.token_key to where that key is, or {again}"
            )
        return f"the token store {self.name} is damaged: its seal is broken; {again}"

    def read_next(self) -> bytes | None:
        """The content of a whole unfinished successor; None = there is none, or it is not whole."""
        found = self.folder.read(self.next)
        return None if found is None else self.sealer.open(found)

    def adopt_next(self) -> None:
        """Put the unfinished successor in force."""
        handle = self.folder.open(self.next)
        try:
            self.folder.sync(handle)  # it may have been written a moment before the crash, and not yet to the disk
        finally:
            self.folder.close(handle)
        self.folder.rename(self.next, self.name)
        self.folder.sync_folder()

    def drop_next(self) -> None:
        """Remove an unfinished successor."""
        self.folder.remove(self.next)
        self.folder.sync_folder()

    @contextlib.contextmanager
    def reserve(self) -> Generator["Room"]:
        """Take the room for the next content; it is given back where nothing was written into it."""
        room = Room(self, self.folder.reserve(self.next, LARGEST_FILE_BYTES))
        try:
            yield room
        finally:
            self.folder.close(room.handle)
            if not room.used:
                self.drop_next()


class Room:
    """Reserved room for one content."""

    def __init__(self, sealed: Sealed, handle: int) -> None:
        self._sealed = sealed
        self.handle = handle
        self.used = False

    def commit(self, content: bytes) -> None:
        """Seal and store; when this returns, the content survives any crash."""
        folder = self._sealed.folder
        sealed = self._sealed.sealer.seal(content)
        self.used = True
        folder.write(self.handle, sealed)
        folder.sync(self.handle)
        folder.rename(self._sealed.next, self._sealed.name)
        folder.sync_folder()
