"""What a download job is to do. Frozen, written into the folder of the job."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DownloadSpec(BaseModel):
    """One base model that is fetched into the cache.

    Attributes:
        model: its id on the hub.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, max_length=200)
