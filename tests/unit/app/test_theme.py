"""The tokens of `assets/theme.css`: both themes name the same ones, and every pair in use can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CSS = (ROOT / "assets" / "theme.css").read_text()
SURFACES = ("bg", "panel", "raised", "hover")
WORDS = [(word, surface) for word in ("text", "text-2", "text-3") for surface in SURFACES]
WORDS += [(word, surface) for word in ("accent-text", "ok", "warn", "danger") for surface in SURFACES[:3]]
WORDS += [(word, f"{word}-tint") for word in ("ok", "warn", "danger")] + [("accent-text", "accent-tint")]
WORDS += [
    (word, f"{tint}-tint") for word in ("text", "text-2") for tint in ("accent", "ok", "warn", "danger")
]
WORDS += [("on-accent", "accent"), ("on-accent", "accent-hover"), ("on-accent", "danger-solid")]
MARKS = [
    (mark, surface)
    for mark in ("control", "focus", "c1", "c2", "c3", "c4", "c5", "c6")
    for surface in SURFACES[:3]
]


def tokens(selector: str) -> dict[str, str]:
    block = re.search(re.escape(selector) + r" \{(.*?)\}", CSS, re.DOTALL)
    assert block is not None
    return dict(re.findall(r"--([\w-]+): (.+?);", block[1]))


THEMES = {"dark": tokens(":root,\n.dark"), "light": tokens(".light")}


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """WCAG 2.2 contrast ratio of two colours."""
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_both_themes_name_the_same_tokens() -> None:
    assert THEMES["dark"].keys() == THEMES["light"].keys()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("word", "surface"), WORDS)
def test_words_have_a_contrast_of_4_5(theme: str, word: str, surface: str) -> None:
    assert contrast(THEMES[theme][word], THEMES[theme][surface]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("mark", "surface"), MARKS)
def test_marks_have_a_contrast_of_3(theme: str, mark: str, surface: str) -> None:
    assert contrast(THEMES[theme][mark], THEMES[theme][surface]) >= 3.0


def test_no_rule_below_the_tokens_has_a_colour_of_its_own() -> None:
    rules = CSS.split("/* base */")[1]
    assert re.findall(r"#[0-9A-Fa-f]{3,8}\b|rgba?\(", rules) == []


def test_pages_and_components_name_no_colour() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("components", "pages", "states", "views")
        for path in (ROOT / "backprop_app" / folder).glob("*.*")
        if re.search(r"[\"'](?:#[0-9A-Fa-f]{3,8}|rgba?\()", path.read_text())
    ]
    assert found == []


def test_every_font_that_the_theme_names_is_shipped_with_its_licence() -> None:
    names = re.findall(r'url\("/fonts/([^"]+)"\)', CSS)
    assert len(names) == 4
    fonts = ROOT / "assets" / "fonts"
    assert [name for name in names if not (fonts / name).is_file()] == []
    assert (fonts / "OFL-Inter.txt").is_file()
    assert (fonts / "OFL-JetBrainsMono.txt").is_file()


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert re.findall(r"url\(\s*[\"']?(?:https?:)?//", CSS) == []
