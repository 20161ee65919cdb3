"""Trials of searches in the store's database: Optuna's tables beside the projection's, and who works on what.

Theory of operation. A search is a study, and what it tries are trials; a search of training settings keeps them here,
and so will one of a strategy's settings by backtests (`daemon.research.trials` is what both speak to). Unlike the
projection they are a record: no journal brings them back. Optuna makes and reads its tables (its `RDBStorage`); they
have no name in common with ours but `alembic_version`, which is why ours has another (`adapters.store.store`).

Several processes and machines may share a study. Whoever begins, ends or buries a trial holds the one `claim` there is,
so that counts are exact and no two take the same. Whether the process that runs a trial still lives is told by a lock
that it holds as long as it does: an advisory lock of its own connection in PostgreSQL, a file's lock beside a SQLite
database. The kernel or the server lets go when the process dies, however it dies; no clock is compared, and nobody
waits for a heartbeat. A connection pooler that shares sessions among clients (PgBouncer's transaction mode) would let
go too early: give the server's own address.

Importing this loads Optuna.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Self

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import text
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from adapters.store.places import CONNECT_TIMEOUT_S, engine_of, mask_url, parse, reason_of
from adapters.store.store import Store
from bus.errors import ConfigError, DataError

_BUSY_S = 60
"""A writer waits so long for another one: SQLite has one write lock, and a machine may be slow."""

_CLAIM, _WORKERS = 7_525_612, 7_525_613
"""Spaces of PostgreSQL's advisory locks; any numbers, as long as they are always the same."""


class TrialStore:
    """The trials of one database. Make it with `open`; use it from one thread.

    Attributes:
        storage: for Optuna.
        worker: this process, for others that ask whether it lives.
        url: where it is, without the password.
    """

    def __init__(self, storage: RDBStorage, place: URL, locks: "_Files | _Advisory") -> None:
        self.storage = storage
        self.url = mask_url(place.render_as_string(hide_password=True))
        self.worker = locks.worker
        self._place, self._locks = place, locks

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect; make what is not there yet, the projection's tables included.

        Args:
            url: as for `Store.open`, but of a database that other processes can open as well.

        Raises:
            ConfigError: not such a URL, nobody answers there, or another release of Optuna has been here.
        """
        place = parse(url)
        if place.drivername == "sqlite" and place.database in {None, "", ":memory:"}:
            raise ConfigError(f"{url!r} lives in this process alone; trials need a file or PostgreSQL to go on from")
        Store.open(url).close()
        locks = _Files(Path(str(place.database))) if place.drivername == "sqlite" else _Advisory(engine_of(place))
        timeout = {"timeout": _BUSY_S} if place.drivername == "sqlite" else {"connect_timeout": CONNECT_TIMEOUT_S}
        shown = mask_url(place.render_as_string())
        try:
            with locks.claim():
                optuna.logging.set_verbosity(optuna.logging.ERROR)
                storage = RDBStorage(
                    place.render_as_string(hide_password=False),
                    engine_kwargs={"connect_args": timeout, "pool_pre_ping": place.drivername != "sqlite"},
                    skip_compatibility_check=True,  # it would leave connections open
                )
                there, ours = storage.get_current_version(), storage.get_head_version()
        except SQLAlchemyError as error:
            locks.close()
            raise ConfigError(f"{shown} takes no trials: {reason_of(error, place)}") from None
        if there != ours:
            storage.engine.dispose()
            locks.close()
            raise ConfigError(
                f"trials in {shown} are kept as another release of Optuna does ({there}; this one {ours}); update, or "
                "give another database with search.storage"
            )
        return cls(storage, place, locks)

    def close(self) -> None:
        """Let go of everything, this process's lock included."""
        self.storage.remove_session()
        self.storage.engine.dispose()
        self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def claim(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else begins, ends or buries a trial of this database meanwhile."""
        return self._locks.claim()

    def alive(self, worker: str) -> bool:
        """Whether the process of this name still works. Within a `claim`."""
        return worker == self.worker or self._locks.alive(worker)

    @contextlib.contextmanager
    def words(self) -> Generator[None]:
        """Errors of the database as one line without the password.

        Raises:
            DataError: what the database said.
        """
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else None
            raise DataError(f"{self.url} does not take trials: {reason_of(cause or error, self._place)}") from None


def _name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class _Files:
    """Locks of files in a folder beside a SQLite database, which processes of one machine share."""

    def __init__(self, database: Path) -> None:
        self.worker = _name()
        self._folder = database.with_name(f"{database.name}.searches")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held = self._open(self.worker)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600)

    @contextlib.contextmanager
    def claim(self) -> Generator[None]:
        claimed = self._open("claim")
        try:
            fcntl.flock(claimed, fcntl.LOCK_EX)
            yield
        finally:
            os.close(claimed)

    def alive(self, worker: str) -> bool:
        path = self._folder / Path(worker).name
        try:
            found = os.open(path, os.O_RDWR)
        except OSError:
            return False  # it left in good order, or was buried before
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(found)

    def close(self) -> None:
        (self._folder / self.worker).unlink(missing_ok=True)
        os.close(self._held)


class _Advisory:
    """PostgreSQL's advisory locks, which belong to a connection and end with it."""

    def __init__(self, engine: Engine) -> None:
        self.worker = _name()
        self._engine = engine
        self._held, self._asking = self._connected()

    def _connected(self) -> tuple[Connection, Connection]:
        """The one that holds this process's lock as long as it lives, and one to ask by."""
        held, asking = (
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") for _ in ("held", "asking")
        )
        self._take(held, self.worker)
        return held, asking

    @staticmethod
    def _take(connection: Connection, worker: str) -> None:
        # a machine that lost its power says no farewell: the server asks, and lets go within a minute or so
        for setting, value in (("idle", 30), ("interval", 10), ("count", 3)):
            connection.execute(text(f"SET tcp_keepalives_{setting} = {value}"))
        connection.execute(text(f"SELECT pg_advisory_lock({_WORKERS}, {_number(worker)})"))

    @contextlib.contextmanager
    def claim(self) -> Generator[None]:
        self._reconnect()
        self._asking.execute(text(f"SELECT pg_advisory_lock({_CLAIM})"))
        try:
            yield
        finally:
            with contextlib.suppress(SQLAlchemyError):  # a connection that is gone holds nothing
                self._asking.execute(text(f"SELECT pg_advisory_unlock({_CLAIM})"))

    def _reconnect(self) -> None:
        """After the server was away. Whoever asked meanwhile took this process for dead."""
        try:
            for connection in (self._held, self._asking):
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            self._drop()
            self._held, self._asking = self._connected()

    def alive(self, worker: str) -> bool:
        number = _number(worker)
        free = self._asking.execute(text(f"SELECT pg_try_advisory_lock({_WORKERS}, {number})")).scalar_one()
        if free:
            self._asking.execute(text(f"SELECT pg_advisory_unlock({_WORKERS}, {number})"))
        return not free

    def _drop(self) -> None:
        for connection in (self._held, self._asking):
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def close(self) -> None:
        self._drop()
        self._engine.dispose()


def _number(worker: str) -> int:
    """A name as the signed 32 bits that a lock is named by."""
    return int.from_bytes(hashlib.blake2b(worker.encode(), digest_size=4).digest(), "big", signed=True)
