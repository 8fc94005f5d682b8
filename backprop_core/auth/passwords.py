"""Argon2id hashes of passwords, by `cryptography`, which is loaded when the first one is made.

64 MiB, four passes, one lane: about a fifth of a second and above the floor that OWASP names
(Password Storage Cheat Sheet: 19 MiB, two passes).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from backprop_core.errors import DependencyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

MEMORY_KIB: Final = 64 * 1024
PASSES: Final = 4
LANES: Final = 1
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


def hash_password(password: str) -> str:
    """Return the hash of `password` in PHC form, with a fresh salt.

    Raises:
        DependencyError: DEP_EXTRA_MISSING without the `ui` or `security` extra.
    """
    kdf = _argon2id()(
        salt=os.urandom(_SALT_BYTES),
        length=_HASH_BYTES,
        iterations=PASSES,
        lanes=LANES,
        memory_cost=MEMORY_KIB,
    )
    return kdf.derive_phc_encoded(password.encode())


def verify_password(password: str, phc: str) -> bool:
    """Tell whether `phc` is the hash of `password`; takes as long whichever it is.

    Raises:
        DependencyError: DEP_EXTRA_MISSING without the `ui` or `security` extra.
    """
    kdf = _argon2id()
    from cryptography.exceptions import InvalidKey

    try:
        kdf.verify_phc_encoded(password.encode(), phc)
    except InvalidKey:
        return False
    return True


def _argon2id() -> type[Argon2id]:
    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    except ImportError as error:
        raise DependencyError(
            "DEP_EXTRA_MISSING",
            "A login needs the package `cryptography`.",
            hint="pip install 'backpropagate[ui]'",
        ) from error
    return Argon2id
