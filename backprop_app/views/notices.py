"""Ends of runs as a page tells them: a toast in each open tab, a notification of the browser once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backprop_core.runs.outbox import Post

_TONES = {"completed": "ok", "stopped": "", "failed": "danger", "interrupted": "danger"}


@dataclass(frozen=True, slots=True)
class NoticeItem:
    """One end; `id` grows with each."""

    id: int
    title: str
    text: str
    tone: str


def notice_items(posts: Sequence[Post]) -> list[NoticeItem]:
    """Return what a page tells, oldest first."""
    return [
        NoticeItem(post.id, post.notice.title, post.notice.text, _TONES.get(post.notice.status, ""))
        for post in posts
    ]
