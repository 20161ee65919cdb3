"""Where a database is: URLs, engines, and errors that never hold a password."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from bus.errors import ConfigError

CONNECT_TIMEOUT_S = 5
_HINT = "use sqlite:///plimsoll.db or postgresql://user@host/database"
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def mask_url(url: str) -> str:
    """A database URL that may be shown: the password, wherever it stands, becomes ``***``."""
    masked = re.sub(r"(//[^/@:]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)(password|passwd|sslpassword)=[^&\s]*", r"\1=***", masked)


def parse(url: str) -> URL:
    """A database URL with the driver that is used for it.

    Raises:
        ConfigError: it is none, or of a database that is not supported. Never holds the password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"[store] url {mask_url(url)!r} is not a database URL; {_HINT}") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigError(f"[store] url {mask_url(url)!r}: no support for {parsed.drivername!r}; {_HINT}")
    return parsed.set(drivername=driver)


def reason_of(error: BaseException, url: URL) -> str:
    """The last meaningful line of a driver's message, without the password."""
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    reason = lines[0] if lines else type(cause).__name__
    secrets = [str(url.password)] if url.password else []
    secrets += [str(value) for name, value in url.query.items() if "passw" in name.lower()]
    for secret in secrets:
        reason = reason.replace(secret, "***")
    return reason


def engine_of(url: URL) -> Engine:
    """An engine that opens transactions as they are meant here; a SQLite file's folder is made.

    Raises:
        ConfigError: the folder cannot be made.
    """
    if url.drivername.startswith("postgresql"):
        return create_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}, pool_pre_ping=True)
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"[store] url: {error.filename}: {error.strerror}; choose a writable place") from None
    engine = create_engine(url)

    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver leaves transactions, schema changes included, to us
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA busy_timeout=10000")

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine
