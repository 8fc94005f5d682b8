"""What an exported file must reach, by GGUF type: the one table of limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Above this a small file still counts, and its card says that it is amber.
AMBER_KL: Final = 0.15
# The trained model rates both tokens the same but for rounding.
TIE_NATS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Limits:
    """What the answers of a file must reach.

    Attributes:
        top1: least share of tokens on whose likeliest choice file and trained model agree; None for no limit.
        mean_kl: mean divergence in nats that must not be reached; None for no limit.
    """

    top1: float | None
    mean_kl: float | None

    def in_words(self) -> str:
        """Return the limits as the card shows them."""
        top1 = "" if self.top1 is None else f"same choice >= {self.top1:.0%}, "
        kl = f"amber above {AMBER_KL}" if self.mean_kl is None else f"< {self.mean_kl:g}"
        return f"{top1}mean KL {kl}"


_EXACT: Final = Limits(0.99, 1e-3)
_EIGHT_BIT: Final = Limits(None, 0.02)
_REPORTED: Final = Limits(None, None)
_BY_TYPE: Final = {"f32": _EXACT, "f16": _EXACT, "bf16": _EXACT, "q8_0": _EIGHT_BIT}


def limits_of(quantization: str, *, is_reference_exact: bool = True) -> Limits:
    """Return the limits of a GGUF type.

    Args:
        is_reference_exact: False when the trained model ran in bf16, whose rounding alone is more than
            a float file may differ.
    """
    limits = _BY_TYPE.get(quantization.lower(), _REPORTED)
    return _EIGHT_BIT if limits is _EXACT and not is_reference_exact else limits
