"""Who made an artifact: Ed25519 signatures over its manifest, in a file beside it.

Theory of operation. The manifest holds the sha256 of every other file, so its signature covers them all. The signature
file is 96 bytes, the signer's public key and the signature (RFC 8032), and has no form that could vary: any other byte
is another key or another signature. It is checked before the manifest is parsed. `Trust` is what a reader believes:
a signature that is there must always be right; whose keys count, and whether there must be one, is configured.

The private key rests in a PEM file of mode 0600 that only its owner may read, encrypted where a passphrase is given.
It is needed where models are signed, and nowhere else.
"""

import base64
import binascii
import os
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bus.errors import ConfigError, ModelError

SIGNATURE = "signature.ed25519"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
LARGEST_KEY_FILE_BYTES = 4_096


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Whose artifacts are read.

    Attributes:
        keys: public keys as `keygen` tells them (base64 of 32 bytes); empty = anybody's.
        required: an artifact without a signature is refused.
    """

    keys: tuple[str, ...] = ()
    required: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no key, and a demand that nothing can meet."""
        for key in self.keys:
            try:
                sound = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
            except (binascii.Error, ValueError):
                sound = False
            if not sound:
                raise ConfigError(f"models.trusted_keys: {key!r} is no key; write what `plimsoll models keygen` tells")
        if self.required and not self.keys:
            raise ConfigError("models.require_signature needs models.trusted_keys; `plimsoll models keygen` makes one")


def verify(manifest_bytes: bytes, signature: bytes | None, trust: Trust, where: str) -> str:
    """Check a signature against what is trusted, before anything is parsed.

    Args:
        manifest_bytes: what was signed.
        signature: content of the signature file; None = there is none.
        trust: whose it may be.
        where: the artifact, for the message.

    Returns:
        The signer's public key; empty where there is no signature and none is demanded.

    Raises:
        ModelError: there is none, it is nobody's whom we trust, or it does not fit.
    """
    again = "sign it with `plimsoll models sign`"
    if signature is None:
        if trust.required:
            raise ModelError(f"{where}: not signed, and models.require_signature is true; {again}")
        return ""
    if len(signature) != _KEY_BYTES + _SIGNATURE_BYTES:
        raise ModelError(f"{where}/{SIGNATURE}: {len(signature)} bytes are no signature; {again}")
    signer = base64.b64encode(signature[:_KEY_BYTES]).decode()
    if trust.keys and signer not in trust.keys:
        raise ModelError(f"{where}/{SIGNATURE}: of key {signer}, which models.trusted_keys does not name; {again}")
    try:
        Ed25519PublicKey.from_public_bytes(signature[:_KEY_BYTES]).verify(signature[_KEY_BYTES:], manifest_bytes)
    except (InvalidSignature, ValueError):
        raise ModelError(f"{where}/{SIGNATURE}: the signature does not fit the manifest; {again}") from None
    return signer


def keygen(path: Path, passphrase: bytes = b"") -> str:
    """Make a private key in a new file of mode 0600; tells the public key for `models.trusted_keys`.

    Raises:
        ConfigError: there is a file already, or it cannot be made.
    """
    key = Ed25519PrivateKey.generate()
    sealed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; a key is never overwritten, choose another name") from None
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be made: {error.strerror}; choose another place") from None
    return public_key(key)


def load_key(path: Path, passphrase: bytes = b"") -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        ConfigError: others may read it, it is no Ed25519 key, or the passphrase does not open it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}; name it with --key") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(f"{path} must be a plain file that only you may open; run: chmod 600 {path}")
        data = os.read(fd, LARGEST_KEY_FILE_BYTES)
    finally:
        os.close(fd)
    try:
        key = serialization.load_pem_private_key(data, passphrase or None)
    except TypeError:
        state = "is not encrypted, but a passphrase was given" if passphrase else "is encrypted; give its passphrase"
        raise ConfigError(f"the key in {path} {state}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} holds no key that can be opened: a wrong passphrase, or damaged") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a key of another kind than Ed25519; make one with `plimsoll models keygen`")
    return key


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half, as `models.trusted_keys` names it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(manifest_bytes: bytes, key: Ed25519PrivateKey) -> bytes:
    """Content of the signature file."""
    return key.public_key().public_bytes_raw() + key.sign(manifest_bytes)
