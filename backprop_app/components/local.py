"""The React components of our own: the chart, the shell's browser-side helpers, the in-app link."""

from __future__ import annotations

from typing import Any, Final

import reflex as rx

from backprop_app.views.marks import Marks
from backprop_app.views.notices import NoticeItem
from backprop_app.views.runs import Chunk

_CHART: Final = f"$/public{rx.asset('chart.jsx', shared=True)}"
_SHELL: Final = f"$/public{rx.asset('shell.jsx', shared=True)}"


class Chart(rx.Component):
    """A canvas that keeps the points it is given by run, and draws one column of the run `stream`."""

    library = _CHART
    tag = "Chart"

    chunk: rx.Var[Chunk]
    stream: rx.Var[str]
    variant: rx.Var[str]
    column: rx.Var[int]
    total: rx.Var[int]
    smooth: rx.Var[float]
    log: rx.Var[bool]
    window: rx.Var[int]
    marks: rx.Var[Marks]
    failed: rx.Var[bool]
    tone: rx.Var[str]
    summary: rx.Var[str]


class PointTable(rx.Component):
    """The points of the run `stream` as a table that unfolds; at most 200 rows."""

    library = _CHART
    tag = "PointTable"

    chunk: rx.Var[Chunk]
    stream: rx.Var[str]
    marks: rx.Var[Marks]


class CompareChart(rx.Component):
    """A canvas with the smoothed loss of two runs."""

    library = _CHART
    tag = "CompareChart"

    first: rx.Var[Chunk]
    second: rx.Var[Chunk]
    streams: rx.Var[list[str]]
    names: rx.Var[list[str]]


class CopyButton(rx.Component):
    """A button that puts `text` into the clipboard and says so."""

    library = _SHELL
    tag = "CopyButton"

    text: rx.Var[str]


class Shortcuts(rx.Component):
    """Listens to the keyboard; draws nothing."""

    library = _SHELL
    tag = "Shortcuts"


class Notices(rx.Component):
    """Tells ends of runs through the browser, each once for all its tabs; draws nothing."""

    library = _SHELL
    tag = "Notices"

    notices: rx.Var[list[NoticeItem]]
    ready: rx.Var[bool]


class NotifyButton(rx.Component):
    """A button that asks the browser for permission to notify."""

    library = _SHELL
    tag = "NotifyButton"


class Offline(rx.Component):
    """The notice that stands while the socket is down."""

    library = _SHELL
    tag = "Offline"

    lost: rx.Var[bool]


class Upload(rx.Component):
    """A button that sends one file to the app; `on_done` gets the path it was stored under."""

    library = f"$/public{rx.asset('upload.jsx', shared=True)}"
    tag = "Upload"

    accept: rx.Var[str]
    label: rx.Var[str]
    on_done: rx.EventHandler[rx.event.passthrough_event_spec(str)]


class RouterLink(rx.el.A):
    """A link that changes the page without loading it anew."""

    library = "react-router"
    tag = "Link"
    alias = "RouterLink"

    to: rx.Var[str]


def link(*children: Any, to: str | rx.Var[str], **props: Any) -> rx.Component:
    """Return an in-app link to the path `to`."""
    return RouterLink.create(*children, to=to, **props)
