"""Where the secrets of channels come from: a file that only we may read, or a credential of systemd. Never the config.

A webhook's URL is a secret like a token: whoever has it may write there.
"""

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from adapters.ctrader.secret import Secret
from bus.errors import ConfigError

_MOST_BYTES = 4_096


def secret(key: str, file: str) -> Secret:
    """A secret line of text.

    Args:
        key: of the configuration, such as ``alerts.slack.url_file``; without ``_file`` and with dashes it is also the
            name of the systemd credential that counts where no file is set: ``plimsoll-alerts-slack-url``.
        file: what the key is set to; empty = systemd's credential.

    Raises:
        ConfigError: neither is there, others may read it, or it is no line of text.
    """
    from adapters.ctrader.keys import credential  # both bring a library for encryption, which a configuration
    from adapters.ctrader.vault import read_private  # without such channels does without

    name = "plimsoll-" + key.removesuffix("_file").replace(".", "-").replace("_", "-")
    path = Path(file).expanduser()
    found = read_private(path, _MOST_BYTES) if file else credential(name)
    if found is None:
        where = f"{path} does not exist" if file else "it is not set"
        raise ConfigError(f"{key}: {where}; name a file of mode 0600 that holds it, or the systemd credential {name}")
    try:
        text = found.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable() or " " in text:
        raise ConfigError(f"{key}: what {path if file else name} holds is no single word of text")
    return Secret(text)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(key: str, url: str) -> None:
    """Refuse a URL over which secrets would travel in the clear; plain http is for this machine only.

    Raises:
        ConfigError: names the key and never the URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
        parts = None
    if parts is None or not host or parts.username or parts.password or parts.fragment:
        raise ConfigError(f"{key}: it holds no plain URL; write one such as https://host/path")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigError(f"{key}: secrets travel over it; write an https URL (http only on 127.0.0.1)")


def tls_context(key: str, ca_file: str) -> ssl.SSLContext:
    """TLS that verifies chain and host name, against a private authority where a file is given.

    Raises:
        ConfigError: the file of the authority cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file).expanduser()) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{key} {ca_file} cannot be used: {error.strerror or 'no certificate'}") from None
