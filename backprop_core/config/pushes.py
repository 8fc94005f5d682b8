"""What a push job uploads, and where to. Frozen, written into the folder of the job; holds no secret."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PushSpec(BaseModel):
    """One upload to a model repository of the hub.

    Attributes:
        path: a GGUF file, or a folder with an adapter or a model.
        repo: owner and name on the hub.
        is_private: a new repository is made private; an old one must be.
        base: folder of the base model whose files go along into `base/`, if wanted.
        revision: the branch that receives the commit, made when it is missing.
        message: of the commit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    repo: str
    is_private: bool = True
    base: str | None = None
    revision: str | None = None
    message: str = Field(min_length=1, max_length=500)
