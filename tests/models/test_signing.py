"""Keys that only their owner may read, and signatures that fit one manifest and one key."""

import base64
import stat
import subprocess
from pathlib import Path

import pytest

from bus.errors import ConfigError, ModelError
from models.revision import revision, sources_sha256
from models.signing import Trust, keygen, load_key, public_key, sign, verify
from tests.harness.artifacts import KEY, STRANGER, TRUST

MANIFEST = b'{"a": 1}'


def test_a_new_key_is_private_signs_and_is_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    public = keygen(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = load_key(path)
    assert public_key(key) == public
    assert verify(MANIFEST, sign(MANIFEST, key), Trust(keys=(public,), required=True), "here") == public
    with pytest.raises(ConfigError, match="never overwritten"):
        keygen(path)


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path):
    path = tmp_path / "key.pem"
    public = keygen(path, b"hard to guess")
    assert b"ENCRYPTED" in path.read_bytes()
    assert public_key(load_key(path, b"hard to guess")) == public
    with pytest.raises(ConfigError, match="wrong passphrase"):
        load_key(path, b"easy")
    with pytest.raises(ConfigError, match="is encrypted; give its passphrase"):
        load_key(path)
    open_path = tmp_path / "open.pem"
    keygen(open_path)
    with pytest.raises(ConfigError, match="not encrypted"):
        load_key(open_path, b"hard to guess")


def test_a_key_that_others_may_read_is_not_used(tmp_path):
    path = tmp_path / "key.pem"
    keygen(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    (tmp_path / "link.pem").symlink_to(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_key(tmp_path / "link.pem")
    path.write_bytes(b"no key")
    with pytest.raises(ConfigError, match="no key that can be opened"):
        load_key(path)


def test_a_signature_fits_one_manifest_and_one_key():
    good = sign(MANIFEST, KEY)
    assert verify(MANIFEST, good, TRUST, "here") == public_key(KEY)
    with pytest.raises(ModelError, match="does not fit the manifest"):
        verify(MANIFEST + b" ", good, TRUST, "here")
    with pytest.raises(ModelError, match="trusted_keys does not name"):
        verify(MANIFEST, sign(MANIFEST, STRANGER), TRUST, "here")
    with pytest.raises(ModelError, match="does not fit the manifest"):  # a trusted name over a stranger's signature
        verify(MANIFEST, good[:32] + sign(MANIFEST, STRANGER)[32:], TRUST, "here")
    with pytest.raises(ModelError, match="are no signature"):
        verify(MANIFEST, good + b"x", TRUST, "here")
    with pytest.raises(ModelError, match="not signed"):
        verify(MANIFEST, None, TRUST, "here")
    assert verify(MANIFEST, None, Trust(), "here") == ""


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(bytes(31)).decode(), "%" * 44])
def test_what_is_no_key_is_refused_in_the_configuration(key):
    with pytest.raises(ConfigError, match="trusted_keys"):
        Trust(keys=(key,))
    with pytest.raises(ConfigError, match="needs models.trusted_keys"):
        Trust(required=True)


def test_the_code_revision_follows_the_sources_and_not_their_place(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "a.py").write_text("x = 1\n")
        (tmp_path / place / "sub" / "b.py").write_text("y = 2\n")
        (tmp_path / place / "notes.txt").write_text(place)
    one, two = (sources_sha256(tmp_path / place) for place in ("one", "two"))
    assert one == two
    (tmp_path / "two" / "a.py").write_text("x = 3\n")
    assert sources_sha256(tmp_path / "two") != one
    (tmp_path / "one" / "a.py").rename(tmp_path / "one" / "c.py")
    assert sources_sha256(tmp_path / "one") != one


def test_the_commit_is_the_one_that_is_checked_out():
    root = Path(__file__).parents[2]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    assert revision().vcs == head.stdout.strip()
    assert len(revision().models_sha256) == 64
