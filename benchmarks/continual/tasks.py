"""Five short-answer tasks from word lists: rows of a question and a one-word answer. Pure."""

from __future__ import annotations

import random
from typing import Final

Row = dict[str, list[dict[str, str]]]

_CATEGORIES: Final = {
    "animal": "otter heron badger moth salmon lynx beetle raven goat newt stoat crane toad hare eel wasp",
    "tool": "hammer chisel wrench plane rasp drill saw clamp file pliers spanner awl mallet vise lathe level",
    "food": "bread cheese lentil plum noodle honey radish pepper butter garlic almond barley olive cherry rice leek",
    "place": "harbour valley desert tunnel village island meadow bridge canyon station market forest tower lagoon quarry marsh",
}
_MOODS: Final = {
    "9": "splendid joyful superb radiant brilliant cheerful delightful glorious thrilled wonderful lovely charming",
    "5": "ordinary average plain fair usual middling common moderate passable standard regular typical",
    "1": "dreadful gloomy bitter awful miserable bleak hateful rotten horrible dismal grim ghastly",
}
_LANGUAGES: Final = {
    "French": "bonjour fromage maison voiture jardin soleil livre chanson rivière fenêtre oiseau pomme",
    "German": "Guten Käse Haus Wagen Garten Sonne Buch Lied Fluss Fenster Vogel Apfel",
    "Spanish": "hola queso casa coche jardín libro canción río ventana pájaro manzana cielo",
    "Dutch": "goedendag kaas huis auto tuin zon boek lied rivier raam vogel appel",
}
TASKS: Final = ("category", "mood", "language", "longer", "parity")


def rows_of(task: str, count: int, seed: int) -> list[Row]:
    """Return `count` rows of a task that differ from one another as far as its words allow."""
    generator = random.Random(f"{task} {seed}")
    makers = {
        "category": lambda: _labelled(generator, _CATEGORIES, "Name the kind of these things"),
        "mood": lambda: _labelled(generator, _MOODS, "Rate the mood of these words"),
        "language": lambda: _labelled(generator, _LANGUAGES, "Name the language of these words"),
        "longer": lambda: _longer(generator),
        "parity": lambda: _parity(generator),
    }
    found: dict[str, Row] = {}
    while len(found) < count:
        question, answer = makers[task]()
        found[question] = {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }
    return list(found.values())


def _labelled(generator: random.Random, lists: dict[str, str], words: str) -> tuple[str, str]:
    label = generator.choice(sorted(lists))
    chosen = generator.sample(lists[label].split(), 2)
    return f"{words}: {' '.join(chosen)}", label


def _longer(generator: random.Random) -> tuple[str, str]:
    words = " ".join(_CATEGORIES.values()).split()
    one, other = generator.sample(words, 2)
    while len(one) == len(other):
        one, other = generator.sample(words, 2)
    return f"Which word is longer: {one} or {other}", max(one, other, key=len)


def _parity(generator: random.Random) -> tuple[str, str]:
    number = generator.randrange(10, 9999)
    return f"Is {number} odd or even", "odd" if number % 2 else "even"
