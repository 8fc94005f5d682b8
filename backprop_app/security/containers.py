"""What the app knows about the container it may run in: our image, and who may connect there.

The image publishes its port on the loopback of the machine. Then the app has to listen on every address
of the container, and trusts that nobody but the machine reaches them; this file is what that rests on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

# Written by the Dockerfile into the environment that it makes; pip never makes it.
MARKER: Final = Path(sys.prefix) / "backpropagate-image"
_ROUTES: Final = Path("/proc/net/route")
_IS_GATEWAY: Final = 0x2


def in_image() -> bool:
    """Tell whether this is the Python of our image."""
    return MARKER.is_file()


def gateways() -> frozenset[str]:
    """Return the addresses from which the machine itself reaches this container; loopback when there is none.

    A connection to a port published on the machine's loopback comes from the gateway of the container's
    network; one from another container, or from the network to a port that was published to it, keeps its own
    address with most engines.
    """
    try:
        return default_gateways(_ROUTES.read_text()) or frozenset({"127.0.0.1"})
    except OSError:
        return frozenset({"127.0.0.1"})


def default_gateways(table: str) -> frozenset[str]:
    """Return the gateways of the default routes in the text of `/proc/net/route`."""
    found: set[str] = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[1] == "00000000" and int(fields[3], 16) & _IS_GATEWAY:
            number = bytes.fromhex(fields[2])
            found.add(".".join(str(part) for part in reversed(number)))
    return frozenset(found)
