"""Which accounts are wanted, which are logged in, and when to ask again. The session sends what is asked for here.

Theory of operation. State of an account, while the application is authorised:

    OUT      --its moment has come-->  ASKED
    ASKED    --authorised-->           IN         "already logged in" is the same
    ASKED    --refused, no answer-->   OUT        again after 1, 2, 4 … 60 s
    ASKED    --refused for good-->     REFUSED    not again before `want`: only another token or a person can help
    IN       --lost-->                 OUT        again at once; later where it is lost again within a minute

An answer counts only for the question asked last, so one that outlived a new start of the login changes nothing. A
token never shows in a representation.
"""

import enum
from collections.abc import Iterator

from adapters.ctrader.codes import CODES, NextStep
from adapters.ctrader.events import AccountAuthorised, AccountLost
from bus.values import NS_PER_S

STABLE_NS = 60 * NS_PER_S
"""A login that has lasted so long counts as good: the next loss is not the last one's."""

_LONGEST_PAUSE_S = 60
_AGAIN = frozenset((NextStep.RETRY_LATER, NextStep.WAIT, NextStep.LOG_IN, NextStep.AUTHORISE_APPLICATION))


class _State(enum.Enum):
    OUT = "out"
    ASKED = "asked"
    IN = "in"
    REFUSED = "refused"


class _Login:
    __slots__ = ("asked_token", "asks", "due_ns", "in_since_ns", "question", "state", "token")

    def __init__(self, token: str) -> None:
        self.token = token
        self.asked_token = ""
        self.question = 0
        self.state = _State.OUT
        self.asks = 0
        self.due_ns = 0
        self.in_since_ns = 0


class Logins:
    """The accounts of one session."""

    def __init__(self) -> None:
        self._logins: dict[int, _Login] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._logins))

    def want(self, account_id: int, token: str, now_ns: int) -> None:
        """Want an account logged in, from now on, with the newest token."""
        login = self._logins.setdefault(account_id, _Login(token))
        login.token = token
        if login.state is _State.ASKED or (login.state is _State.IN and login.asked_token == token):
            return  # the answer under way decides, and a token refused will find another in its place
        login.state, login.due_ns = _State.OUT, now_ns

    def forget(self, account_id: int) -> None:
        """Want an account no more."""
        self._logins.pop(account_id, None)

    def is_in(self, account_id: int) -> bool:
        """Whether an account is logged in."""
        login = self._logins.get(account_id)
        return login is not None and login.state is _State.IN

    def restart(self, now_ns: int, *, new_link: bool) -> None:
        """Nobody is logged in any more; on a new link what was refused is tried again, and pauses begin anew."""
        for login in self._logins.values():
            if new_link:
                login.asks = 0
            if new_link or login.state is not _State.REFUSED:
                login.state, login.due_ns = _State.OUT, now_ns

    def due(self, now_ns: int) -> list[tuple[int, str]]:
        """Account and token of each login whose moment has come; each must be asked for and noted with ``asked``."""
        return [(each, x.token) for each, x in self._logins.items() if x.state is _State.OUT and x.due_ns <= now_ns]

    def asked(self, account_id: int, question: int) -> None:
        """A login was asked for, by the request of that number."""
        login = self._logins[account_id]
        login.state, login.asked_token, login.question = _State.ASKED, login.token, question
        login.asks += 1

    def granted(self, account_id: int, question: int, now_ns: int) -> AccountAuthorised | None:
        """A login was granted; None = nobody waits for that answer any more."""
        login = self._asked(account_id, question)
        if login is None:
            return None
        login.state, login.in_since_ns = _State.IN, now_ns
        return AccountAuthorised(account_id)

    def refused(
        self, account_id: int, question: int, code: str, text: str, step: NextStep, now_ns: int
    ) -> AccountLost | None:
        """A login was refused or (RETRY_LATER) not answered; None = nobody waits for that answer any more."""
        login = self._asked(account_id, question)
        if login is None:
            return None
        login.state, login.due_ns = _State.OUT, now_ns + _pause_ns(login.asks)
        if step not in _AGAIN and code in CODES:  # a code that nobody knows is tried again: it may pass
            login.state = _State.REFUSED
            if login.token != login.asked_token:  # another one came meanwhile
                login.state, login.due_ns = _State.OUT, now_ns
        return AccountLost(account_id, code, text, step)

    def lost(self, account_id: int, code: str, text: str, now_ns: int) -> AccountLost | None:
        """A login is gone; None = it was not there, or an answer under way will tell."""
        if not self.is_in(account_id):
            return None
        login = self._logins[account_id]
        if now_ns - login.in_since_ns >= STABLE_NS:
            login.asks = 0
        login.state, login.due_ns = _State.OUT, now_ns + _pause_ns(login.asks - 1)
        return AccountLost(account_id, code, text, NextStep.LOG_IN)

    def next_ns(self) -> int | None:
        """The moment at which the next login is due; None = none is."""
        return min((x.due_ns for x in self._logins.values() if x.state is _State.OUT), default=None)

    def _asked(self, account_id: int, question: int) -> _Login | None:
        login = self._logins.get(account_id)
        return login if login is not None and login.state is _State.ASKED and login.question == question else None


def _pause_ns(times: int) -> int:
    """Nothing at first, then 1, 2, 4 … 60 s."""
    return 0 if times <= 0 else min(1 << min(times - 1, 6), _LONGEST_PAUSE_S) * NS_PER_S
