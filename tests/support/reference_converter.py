"""llama.cpp's own converter, run from its source tree on a model folder, without the vocabulary.

`python -m tests.support.reference_converter SOURCE_TREE MODEL OUT TYPE`; the tree is that of llama.cpp, for
example `vendor/llama.cpp` of the source package of llama-cpp-python. Nothing has to be compiled.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Convert."""
    tree, model, out, kind = sys.argv[1:5]
    # Its own gguf package, not the released one, which lags behind it.
    sys.path[:0] = [f"{tree}/gguf-py", tree]
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, get_model_architecture

    config = ModelBase.load_hparams(Path(model), False)
    base = get_model_class(get_model_architecture(config, ModelType.TEXT))

    class WithoutVocabulary(base):  # type: ignore[misc, valid-type]
        model_arch = base.model_arch
        no_mtp = True

        def set_vocab(self) -> None:
            """Leave the vocabulary out: random models have none that the converter knows."""

    file_type = {"f32": "ALL_F32"}.get(kind, f"MOSTLY_{kind.upper()}")
    with torch.inference_mode():
        WithoutVocabulary(Path(model), gguf.LlamaFileType[file_type], Path(out)).write()


if __name__ == "__main__":
    main()
