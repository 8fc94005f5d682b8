"""The process of one proof: reads its order, tells each check and the end as one JSON line each.

Run as a module by the service; the files that it looks at are named by the caller.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from backprop_core.config.proofs import ProofCheck
from backprop_core.engine.proof.prove import prove
from backprop_core.engine.proof.subject import subject_of
from backprop_core.errors import BackpropagateError


def main() -> None:
    """Prove the export of the order."""
    order: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    adapter = order["adapter"]
    try:
        subject = subject_of(Path(order["path"]), Path(order["model"]), Path(adapter) if adapter else None)
        proof = prove(subject, on_check=_tell_check)
    except BackpropagateError as error:
        _tell("error", error.record())
    else:
        _tell("proof", proof.model_dump(mode="json"))


def _tell_check(check: ProofCheck) -> None:
    _tell("check", check.model_dump())


def _tell(kind: str, value: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps({kind: value}) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
