"""The icons of the product as inline SVG, drawn on a 24-unit grid and coloured by the text around them."""

from __future__ import annotations

from typing import Final

import reflex as rx

_Circle = tuple[float, float, float]

_PATHS: Final[dict[str, str]] = {
    "train": "M3 5c3 9 7 13 18 13",
    "runs": "M9 6h11M9 12h11M9 18h11M4.5 6h.01M4.5 12h.01M4.5 18h.01",
    "data": "M4.5 6v12c0 1.7 3.4 3 7.5 3s7.5-1.3 7.5-3V6M4.5 12c0 1.7 3.4 3 7.5 3s7.5-1.3 7.5-3"
    "M4.5 6c0-1.7 3.4-3 7.5-3s7.5 1.3 7.5 3-3.4 3-7.5 3-7.5-1.3-7.5-3",
    "model": "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
    "tokens": "M4 6h6M4 12h11M4 18h16",
    "clock": "M12 7v5l3 2",
    "disk": "M3.5 15L6.5 5h11l3 10M16.5 16.5h.1M5.5 13h13a2 2 0 0 1 2 2v3a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2v-3"
    "a2 2 0 0 1 2-2",
    "download": "M12 3v11M8 10.5l4 4 4-4M4 17v2.5A1.5 1.5 0 0 0 5.5 21h13a1.5 1.5 0 0 0 1.5-1.5V17",
    "upload": "M12 15V4M8 7.5l4-4 4 4M4 17v2.5A1.5 1.5 0 0 0 5.5 21h13a1.5 1.5 0 0 0 1.5-1.5V17",
    "shield": "M12 3l7.5 3v5.5c0 4.5-3 7.8-7.5 9.5-4.5-1.7-7.5-5-7.5-9.5V6zM8.5 12l2.5 2.5 4.5-5",
    "chip": "M8 6h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2"
    "M9.5 3v3M14.5 3v3M9.5 18v3M14.5 18v3M3 9.5h3M3 14.5h3M18 9.5h3M18 14.5h3",
    "moon": "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
    "sun": "M12 2.5v2.5M12 19v2.5M2.5 12h2.5M19 12h2.5M5.3 5.3l1.7 1.7M17 17l1.7 1.7"
    "M18.7 5.3L17 7M7 17l-1.7 1.7",
    "check": "M5 12.5l4.5 4.5L19 7.5",
    "cross": "M6 6l12 12M18 6L6 18",
    "alert": "M12 4l9 16H3zM12 10v4.5M12 17.2v.1",
    "info": "M12 11v5M12 8v.1",
    "play": "M7 4.5v15l12-7.5z",
    "pause": "M8 5v14M16 5v14",
    "stop": "M8 6h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2",
    "down": "M6 9.5l6 6 6-6",
    "up": "M6 14.5l6-6 6 6",
    "right": "M9.5 6l6 6-6 6",
    "left": "M14.5 6l-6 6 6 6",
    "copy": "M10 8h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-8a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2"
    "M16 8V5.5A1.5 1.5 0 0 0 14.5 4h-9A1.5 1.5 0 0 0 4 5.5v9A1.5 1.5 0 0 0 5.5 16H8",
    "prompt": "M5 7l5 5-5 5M12.5 18H19",
    "again": "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4.5V9H15",
    "leave": "M10 4H6.5A1.5 1.5 0 0 0 5 5.5v13A1.5 1.5 0 0 0 6.5 20H10M15 8l4 4-4 4M19 12H9.5",
    "search": "M16 16l4.5 4.5",
    "folder": "M3.5 6.5A1.5 1.5 0 0 1 5 5h4l2 2.5h8A1.5 1.5 0 0 1 20.5 9v8.5A1.5 1.5 0 0 1 19 19H5"
    "a1.5 1.5 0 0 1-1.5-1.5z",
    "settings": "M4 7h9.5M18.5 7H20M4 17h1.5M10.5 17H20",
    "trash": "M4.5 6.5h15M9.5 6V4.5h5V6M6.5 6.5l1 13.5h9l1-13.5M10 10.5v6M14 10.5v6",
    "more": "M5.5 12h.01M12 12h.01M18.5 12h.01",
    "chat": "M4 5h16v11H10l-4.5 4v-4H4z",
    "plus": "M12 5v14M5 12h14",
    "keyboard": "M4.5 6h15A1.5 1.5 0 0 1 21 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 16.5v-9"
    "A1.5 1.5 0 0 1 4.5 6M7 10h.01M11 10h.01M15 10h.01M8 14h8",
}

_CIRCLES: Final[dict[str, tuple[_Circle, ...]]] = {
    "train": ((20, 18, 1.6),),
    "tokens": ((12, 6, 1.6), (17, 12, 1.6)),
    "clock": ((12, 12, 8.5),),
    "info": ((12, 12, 8.5),),
    "search": ((11, 11, 6.5),),
    "sun": ((12, 12, 4),),
    "settings": ((16, 7, 2.5), (8, 17, 2.5)),
}


def icon(name: str, size: str = "") -> rx.Component:
    """Return the icon `name`; `size` is empty (16 px), `s` (14 px) or `l` (20 px)."""
    circles = [rx.el.circle(cx=str(cx), cy=str(cy), r=str(r)) for cx, cy, r in _CIRCLES.get(name, ())]
    return rx.el.svg(
        rx.el.path(d=_PATHS[name]),
        *circles,
        view_box="0 0 24 24",
        class_name=f"i {size}".strip(),
        aria_hidden="true",
    )


def brand_mark() -> rx.Component:
    """Return the mark of the product: a curve that walks back up to its start."""
    return rx.el.svg(
        rx.el.rect(width="20", height="20", rx="5"),
        rx.el.path(d="M15.5 13.8C8.5 13.8 6 11.3 4.8 6"),
        rx.el.path(d="M2.9 8.4L4.6 5.7l2.7 1.5"),
        view_box="0 0 20 20",
        aria_hidden="true",
    )
