"""What is kept of a secret, and looked up: by hash, so that the time it takes tells nothing about a guess."""

from __future__ import annotations

import hashlib


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
