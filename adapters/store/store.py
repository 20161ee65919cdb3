"""The store: a database that shows what the journal records. It can be dropped and rebuilt at any time.

Theory of operation. The journal is the record; this is a projection of it for people and tools that ask in SQL.
Records arrive in order of their sequence numbers and are written in batches, one transaction each; the last sequence
number applied is part of the same transaction, so a batch is there entirely or not at all, and what is told again is
skipped. Schema changes are Alembic migrations that run when the store is opened; which one the tables are at stands in
a table of our own, `VERSION_TABLE`, because Alembic's usual one belongs to the trials that the same database keeps
(`adapters.store.trials`), and those are no projection: nothing here touches them. SQLite is the default; PostgreSQL
works through the same statements. Nothing that decides reads from here.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Table, delete, func, inspect, text, update
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql import select

from adapters.store.places import engine_of, mask_url, parse, reason_of
from adapters.store.projection import Projector, insert_new
from adapters.store.tables import (
    ALL,
    deals,
    forecasts,
    halts,
    metadata,
    orders,
    positions,
    projection_state,
    refusals,
    runs,
    trades,
)
from bus.errors import ConfigError, DataError
from bus.messages import AnyMessage, RunStarted

BATCH_RECORDS = 5_000
"""Records a transaction: large enough that its cost does not count, small enough that little is done again."""

_LOCK_POSTGRESQL = "SELECT pg_advisory_xact_lock(7525611)"  # any number, as long as it is always the same
_LOCK_SQLITE = "PRAGMA user_version = 1"  # a write, which takes the one write lock there is
VERSION_TABLE = "plimsoll_version"
"""Where Alembic notes the migration that the projection's tables are at."""

_USUAL_VERSION_TABLE = "alembic_version"
_MIGRATIONS = Path(__file__).parent / "migrations"
Row = dict[str, Any]
Numbered = tuple[int, AnyMessage]


def _adopt(connection: Connection) -> None:
    """Take over what an older release noted in Alembic's usual table, unless that is somebody else's.

    Ours are numbers of four digits. The old table goes: the trials' tables make one of that name for themselves.
    """
    there = inspect(connection).get_table_names()
    if VERSION_TABLE in there or _USUAL_VERSION_TABLE not in there:
        return
    asked = text(f"SELECT version_num FROM {_USUAL_VERSION_TABLE}")  # noqa: S608
    noted = [str(each) for each in connection.execute(asked).scalars()]
    if len(noted) == 1 and noted[0].isdigit():
        connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:noted)"), {"noted": noted[0]})  # noqa: S608
        connection.execute(text(f"DROP TABLE {_USUAL_VERSION_TABLE}"))


class Store:
    """A projection of journals in a database. Make it with `open`; use it from one thread at a time."""

    def __init__(self, engine: Engine, url: URL) -> None:
        self._engine = engine
        self._url = url
        self._run_id = ""

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, and bring the tables to this release's shape.

        Args:
            url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` (the folder is made), or
                ``postgresql://user:password@host/database``.

        Raises:
            ConfigError: not such a URL, nobody answers there, or a newer release has been here. Never holds a password.
        """
        parsed = parse(url)
        store = cls(engine_of(parsed), parsed)
        try:
            store._migrate()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close every connection. Safe to call twice."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the store is, without the password."""
        return mask_url(self._url.render_as_string(hide_password=True))

    def _migrate(self) -> None:
        try:
            with self._engine.begin() as connection:
                # Two processes that open a new store at once must not both make its tables.
                postgresql = connection.dialect.name == "postgresql"
                connection.exec_driver_sql(_LOCK_POSTGRESQL if postgresql else _LOCK_SQLITE)
                _adopt(connection)
                config = Config()
                config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except DBAPIError as error:
            raise ConfigError(f"[store] {self.url} cannot be used: {reason_of(error, self._url)}") from None
        except CommandError as error:
            raise ConfigError(
                f"[store] {self.url} was written by another release ({error}); update, or drop it and rebuild "
                "(searches and their trials would go with it)"
            ) from None

    # --- writing -----------------------------------------------------------------------------------------------

    def apply(self, records: Iterable[Numbered], *, run_id: str = "") -> int:
        """Write what the records change, in batches of one transaction each.

        Args:
            records: sequence numbers and messages, in order. Kinds of message may be left out.
            run_id: whose records they are; not needed where they begin with `RunStarted` or go on from the last call.

        Returns:
            How many records were new. Sequence numbers at or below the last one applied are skipped.

        Raises:
            DataError: the records belong to no run, or the database does not take them (full, locked, gone). Batches
                written before stay; the next call goes on from there.
        """
        if run_id:
            self._run_id = run_id
        new = 0
        for run, group in groupby(self._named(records), key=lambda each: each[0]):
            batch: list[Numbered] = []
            for _, seq, message in group:
                batch.append((seq, message))
                if len(batch) == BATCH_RECORDS:
                    new += self._apply_batch(run, batch)
                    batch = []
            if batch:
                new += self._apply_batch(run, batch)
        return new

    def _named(self, records: Iterable[Numbered]) -> Iterable[tuple[str, int, AnyMessage]]:
        for seq, message in records:
            if isinstance(message, RunStarted):
                self._run_id = message.run_id
            if not self._run_id:
                raise DataError(f"record {seq} belongs to no run; begin with RunStarted or say run_id")
            yield self._run_id, seq, message

    def _apply_batch(self, run_id: str, batch: Sequence[Numbered]) -> int:
        try:
            return self._write_batch(run_id, batch)
        except SQLAlchemyError as error:
            raise DataError(f"{self.url} does not take records: {reason_of(error, self._url)}") from None

    def _write_batch(self, run_id: str, batch: Sequence[Numbered]) -> int:
        with self._engine.begin() as connection:
            # Writing first takes the lock (the row's, or SQLite's), so two writers cannot both see the old number.
            insert_new(connection, projection_state, [{"run_id": run_id, "last_seq": 0}])
            mine = projection_state.c.run_id == run_id
            locked = update(projection_state).where(mine).values(last_seq=projection_state.c.last_seq)
            last_seq: int = connection.execute(locked.returning(projection_state.c.last_seq)).scalar_one()
            projector = Projector(connection, run_id)
            new = 0
            for seq, message in batch:
                if seq > last_seq:
                    projector.apply(seq, message)
                    last_seq = seq
                    new += 1
            projector.flush()
            connection.execute(update(projection_state).where(mine).values(last_seq=last_seq))
        return new

    def rebuild(self, records: Iterable[Numbered]) -> int:
        """Forget the runs that begin in these records and write them anew; other runs stay. As `apply` otherwise."""
        return self.apply(self._forgetting(records))

    def _forgetting(self, records: Iterable[Numbered]) -> Iterable[Numbered]:
        for seq, message in records:
            if isinstance(message, RunStarted):
                with self._engine.begin() as connection:
                    for table in ALL:
                        connection.execute(delete(table).where(table.c.run_id == message.run_id))
            yield seq, message

    def drop(self) -> None:
        """Remove every table and make them anew, empty: the way back from a projection that somebody changed."""
        with self._engine.begin() as connection:
            metadata.drop_all(connection)
            connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
        self._run_id = ""
        self._migrate()

    # --- asking ------------------------------------------------------------------------------------------------

    def last_seq(self, run_id: str) -> int:
        """The last sequence number applied for a run, 0 before the first."""
        with self._engine.connect() as connection:
            found = connection.execute(
                select(projection_state.c.last_seq).where(projection_state.c.run_id == run_id)
            ).scalar()
        return int(found or 0)

    def run_ids(self) -> list[str]:
        """Every run in the store, oldest first."""
        with self._engine.connect() as connection:
            return list(connection.execute(select(runs.c.run_id).order_by(runs.c.started_ns, runs.c.run_id)).scalars())

    def rows(self, table: str, run_id: str = "") -> list[Row]:
        """All rows of one table of one run (the newest run where none is named), in the order of their keys.

        Raises:
            ConfigError: there is no such table.
        """
        found = metadata.tables.get(table)
        if found is None:
            raise ConfigError(f"no table {table!r} in the store; there are {', '.join(metadata.tables)}")
        return self._rows(found, run_id)

    def trades(self, run_id: str = "") -> list[Row]:
        """Closed trades, oldest first; one for each closing deal."""
        return self._rows(trades, run_id)

    def deals(self, run_id: str = "") -> list[Row]:
        """Every deal, oldest first."""
        return self._rows(deals, run_id)

    def _rows(self, table: Table, run_id: str) -> list[Row]:
        run_id = run_id or (self.run_ids() or [""])[-1]
        order = [table.c.seq] if "seq" in table.c else []
        statement = select(table).where(table.c.run_id == run_id).order_by(*order, *table.primary_key.columns)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def summary(self, run_id: str = "") -> Row:
        """Counts and money of one run (the newest where none is named); empty where the store holds none."""
        run_id = run_id or (self.run_ids() or [""])[-1]
        with self._engine.connect() as connection:
            run = connection.execute(select(runs).where(runs.c.run_id == run_id)).mappings().first()
            if run is None:
                return {}

            def count(table: Table, *where: Any) -> int:
                asked = select(func.count()).select_from(table).where(table.c.run_id == run_id, *where)
                return int(connection.execute(asked).scalar_one())

            sums = [func.coalesce(func.sum(trades.c[name]), 0).label(name) for name in _MONEY]
            money = connection.execute(select(*sums).where(trades.c.run_id == run_id)).mappings().one()
            return {
                **run,
                "orders": count(orders),
                "deals": count(deals),
                "open_positions": count(positions, positions.c.closed_ns.is_(None)),
                "trades": count(trades),
                "forecasts": count(forecasts),
                "refusals": count(refusals),
                "halts": count(halts),
                **{name: int(money[name]) for name in _MONEY},
                "last_seq": self.last_seq(run_id),
            }

    def revision(self) -> str:
        """The migration that the tables are at, empty where there is none."""
        with self._engine.connect() as connection:
            if not inspect(connection).has_table(VERSION_TABLE):
                return ""
            return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() or "")  # noqa: S608


_MONEY = ("gross_profit", "commission", "swap", "conversion_fee", "net_profit")
