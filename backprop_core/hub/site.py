"""Which hub this machine talks to, and whether it may.

Read once from the variables that all Hugging Face tools share (HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HubSite:
    """The hub as this process sees it.

    Attributes:
        endpoint: address without a final slash.
        is_offline: whether the user forbade the network.
        shared_dir: the model cache of Hugging Face tools.
        probe_s: how long the hub may take to answer a first question, in seconds.
    """

    endpoint: str
    is_offline: bool
    shared_dir: Path
    probe_s: float = 10.0

    @classmethod
    def from_environment(cls) -> HubSite:
        """Return the site that huggingface_hub uses in this process."""
        from huggingface_hub import constants

        return cls(constants.ENDPOINT, constants.is_offline_mode(), Path(constants.HF_HUB_CACHE))

    def page(self, hub_id: str) -> str:
        """Return the address of a model's page."""
        return f"{self.endpoint}/{hub_id}"
