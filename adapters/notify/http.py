"""One POST of JSON, and what its answer means for another attempt. The only file here that imports aiohttp.

The URL is a secret, so no exception and no text of the HTTP library leaves this file. Nothing is followed elsewhere,
nothing is sent twice by the library, and an answer is read up to a limit.
"""

import asyncio
import email.utils
import ssl
import time
from collections.abc import Mapping

import aiohttp
import msgspec

from adapters.ctrader.secret import Secret
from adapters.notify.contract import Undelivered

LARGEST_ANSWER_BYTES = 65_536
_AGAIN = frozenset({408, 425, 429})


class Reply(msgspec.Struct, frozen=True):
    """An answer: status, `Retry-After` in seconds where there was one, and the beginning of the body."""

    status: int
    retry_after_s: float | None
    body: bytes


async def post(url: Secret, body: bytes, headers: Mapping[str, str], tls: ssl.SSLContext) -> Reply:
    """POST JSON.

    Raises:
        Undelivered: there was no answer.
    """
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as session,
            session.post(
                url.reveal(), data=body, headers={"Content-Type": "application/json", **headers}, allow_redirects=False
            ) as response,
        ):
            retry_after_s = _retry_after_s(response.headers.get("Retry-After", ""))
            return Reply(response.status, retry_after_s, await response.content.read(LARGEST_ANSWER_BYTES))
    except aiohttp.ClientConnectorCertificateError:
        raise Undelivered("the receiver's certificate is not to be trusted") from None
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
        raise Undelivered(f"no answer ({type(error).__name__})") from None
    except ValueError:
        raise Undelivered("the URL cannot be used", final=True) from None


def settle(reply: Reply) -> None:
    """Return where the receiver took it.

    Raises:
        Undelivered: it did not; later it may, where it is busy or broken.
    """
    if 200 <= reply.status < 300:
        return
    again = reply.status in _AGAIN or reply.status >= 500
    raise Undelivered(f"HTTP {reply.status}", final=not again, retry_after_s=reply.retry_after_s if again else None)


def _retry_after_s(text: str) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3); None where it says neither."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
