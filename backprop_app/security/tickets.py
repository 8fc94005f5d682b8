"""The signed text in a session cookie: a PyJWT HS256 token with checks of our own around it. Pure.

PyJWT pins algorithm, audience, issuer and required claims; it takes a far expiry, an audience list and
other header fields, which are refused here. Times are compared with the clock that the caller gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import jwt

from backprop_core.auth.secret_files import KEY_BYTES

LIFE_S: Final = 12 * 3600
HALF_LIFE_S: Final = LIFE_S // 2
MAX_CHARS: Final = 2048
_LEEWAY_S: Final = 60
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "backpropagate"
_HEADER: Final = {"alg": _ALGORITHM, "typ": "JWT"}
_CLAIMS: Final = ("iss", "aud", "sub", "sid", "iat", "nbf", "exp", "ep")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a valid cookie says.

    Attributes:
        sid: secret of the session; its hash is in the store.
        issued_at: wall time in seconds.
        epoch: of the credential.
    """

    user: str
    sid: str
    issued_at: int
    epoch: int


class Tickets:
    """Issues and reads the tickets of one installation.

    Args:
        key: 32 bytes from the operating system.
        instance: id of the installation, the audience of its tickets.

    Raises:
        ValueError: the key is too short to sign with.
    """

    def __init__(self, key: bytes, instance: str) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError("the signing key is too short")
        self._key = key
        self._instance = instance

    def issue(self, user: str, sid: str, epoch: int, *, now: float, left_s: float) -> str:
        """Return a ticket that lives for twelve hours or as long as its session, whichever ends first."""
        issued_at = int(now)
        claims = {
            "iss": _ISSUER,
            "aud": self._instance,
            "sub": user,
            "sid": sid,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + max(1, min(LIFE_S, int(left_s))),
            "ep": epoch,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def read(self, text: str, now: float) -> Ticket | None:
        """Return what a ticket says, None when anything about it is not as it was issued."""
        if not text or len(text) > MAX_CHARS:
            return None
        try:
            if jwt.get_unverified_header(text) != _HEADER:
                return None
            claims: dict[str, Any] = jwt.decode(
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=self._instance,
                issuer=_ISSUER,
                options={
                    "require": list(_CLAIMS),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        return _checked(claims, now)


def _checked(claims: dict[str, Any], now: float) -> Ticket | None:
    times = [claims[name] for name in ("iat", "nbf", "exp", "ep")]
    texts = [claims[name] for name in ("aud", "sub", "sid")]
    if not all(type(value) is int for value in times) or not all(type(value) is str for value in texts):
        return None
    issued_at, not_before, expires_at, epoch = times
    if max(issued_at, not_before) > now + _LEEWAY_S or expires_at < now - _LEEWAY_S:
        return None
    if not 0 < expires_at - issued_at <= LIFE_S:
        return None
    return Ticket(claims["sub"], claims["sid"], issued_at, epoch)
