"""Signed notices: HMAC-SHA256 over time, id and body, so that a receiver knows who wrote, when, and whether before.

    Plimsoll-Id         the notice's id; the same for every attempt
    Plimsoll-Timestamp  seconds since 1970, of this attempt
    Plimsoll-Signature  v1=HEX, HEX being HMAC-SHA256(key, "v1." + timestamp + "." + id + "." + body)

A receiver computes the same over the raw body, compares in constant time, refuses what is older (or newer) than five
minutes, and does nothing about an id that it has seen in that time. `verify` is such a receiver's first half.
"""

import hashlib
import hmac
from collections.abc import Mapping

from adapters.ctrader.secret import Secret

VALID_S = 300


def sign(key: Secret, notice_id: str, body: bytes, now_s: int) -> dict[str, str]:
    """The headers for one attempt."""
    return {
        "Plimsoll-Id": notice_id,
        "Plimsoll-Timestamp": str(now_s),
        "Plimsoll-Signature": f"v1={_digest(key, str(now_s), notice_id, body)}",
    }


def verify(key: Secret, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether a request was signed with the key, over this body, within five minutes of now."""
    said = headers.get("Plimsoll-Timestamp", "")
    if not (said.isascii() and said.isdigit() and len(said) <= 12) or abs(now_s - int(said)) > VALID_S:
        return False
    ours = f"v1={_digest(key, said, headers.get('Plimsoll-Id', ''), body)}"
    return hmac.compare_digest(ours.encode(), headers.get("Plimsoll-Signature", "").encode())


def _digest(key: Secret, timestamp: str, notice_id: str, body: bytes) -> str:
    signed = b".".join((b"v1", timestamp.encode(), notice_id.encode(), body))
    return hmac.new(key.reveal().encode(), signed, hashlib.sha256).hexdigest()
