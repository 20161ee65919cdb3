"""Cheap sealed forecasters, and ones that are wrong in a stated way though whole: hashed, named and signed anew."""

import dataclasses
import json
from functools import lru_cache
from hashlib import sha256

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load, save

from models import artifact, features
from models.artifact import WEIGHTS
from models.forms.dense import Dense
from models.forward import Pipeline
from models.signing import Trust, public_key, sign
from tests.harness.markets import HORIZONS
from tests.harness.trained import trained

HOUR = 3_600 * 10**9
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TRUST = Trust(keys=(public_key(KEY),), required=True)


@lru_cache(maxsize=256)
def forecaster(seed=0, name="ridge", size=0.01):
    """A linear forecaster with random weights; another seed gives another id."""
    template = next(a for a in trained().artifacts if a.manifest.name == "ridge")
    weight = np.random.default_rng(seed).standard_normal((len(features.DEFAULT), len(HORIZONS))) * size
    pipeline = Pipeline(scaler=template.pipeline.scaler, net=Dense(weights=(weight,), biases=(np.zeros(3),)))
    manifest = msgspec.structs.replace(template.manifest, name=name, seed=seed)
    return artifact.seal(manifest, pipeline, {}, np.ones((2, len(features.DEFAULT))))


def signed(model, key=KEY):
    return dataclasses.replace(model, signature=sign(model.manifest_bytes, key))


def forged(model, manifest=lambda _: None, tensors=lambda _: None, key=KEY):
    """The same with its manifest (a dict) or tensors changed in place, then hashed, named and signed anew."""
    arrays = {name: array.copy() for name, array in load(model.weights_bytes).items()}
    tensors(arrays)
    weights_bytes = save(arrays)
    content = json.loads(model.manifest_bytes)
    content["files"] = {WEIGHTS: sha256(weights_bytes).hexdigest()}
    manifest(content)
    manifest_bytes = json.dumps(content).encode()
    model_id = artifact.id_of(content["name"], manifest_bytes)
    made = dataclasses.replace(
        model, model_id=model_id, manifest_bytes=manifest_bytes, weights_bytes=weights_bytes, signature=None
    )
    return signed(made, key) if key else made
