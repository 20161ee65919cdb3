"""The journal as database tables: a projection that can be dropped and rebuilt. Importing this loads SQLAlchemy."""

from adapters.store.store import Store

__all__ = ["Store"]
