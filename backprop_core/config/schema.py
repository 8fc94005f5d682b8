"""The schema as plain rows, for whoever draws it: flags, environment, forms, the reference table."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic.fields import FieldInfo as PydanticField

from backprop_core.config.specs import TrainSpec

ENV_PREFIX: Final = "BACKPROPAGATE_"

Kind = Literal["text", "int", "float", "bool", "choice"]


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One field as the faces see it.

    Attributes:
        kind: the value's kind; a number that may also be `auto` keeps its number kind.
        choices: the words it may take; ("auto",) for a number that may be derived.
        minimum, maximum: inclusive or exclusive limits as words, for help and messages.
    """

    name: str
    label: str
    description: str
    kind: Kind
    default: Any
    choices: tuple[str, ...]
    is_optional: bool
    is_basic: bool
    section: str
    flag: str
    short: str | None
    env: str
    limits: str


@functools.cache
def train_fields() -> tuple[SchemaField, ...]:
    """Return every field of `TrainSpec` in the order of its declaration."""
    return tuple(describe(name, field) for name, field in TrainSpec.model_fields.items())


@functools.cache
def train_field(name: str) -> SchemaField:
    """Return the field called `name`.

    Raises:
        KeyError: there is no such field.
    """
    for field in train_fields():
        if field.name == name:
            return field
    raise KeyError(name)


def describe(name: str, field: PydanticField) -> SchemaField:
    """Return a field of a model, declared with `option`, as the faces see it."""
    extra = typing.cast("dict[str, Any]", field.json_schema_extra)
    face: dict[str, Any] = extra["face"]
    # Pydantic moves outer `Annotated` metadata into the field; put both together again.
    annotation = typing.Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    parts = list(_flatten(annotation))
    choices = tuple(
        word for part in parts if typing.get_origin(part) is Literal for word in typing.get_args(part)
    )
    plain = [part for part in parts if isinstance(part, type) and part is not type(None)]
    return SchemaField(
        name=name,
        label=face["label"],
        description=field.description or "",
        kind=_kind(plain),
        default=field.default,
        choices=choices,
        is_optional=type(None) in parts,
        is_basic=face["basic"],
        section=face["section"],
        flag=face["flag"] or "--" + name.replace("_", "-"),
        short=face["short"],
        env=f"{ENV_PREFIX}{face['section']}__{face['env'] or name}".upper(),
        limits=_limits(annotation),
    )


def _flatten(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, with `Annotated` wrappers taken off."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _flatten(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for member in typing.get_args(annotation):
            yield from _flatten(member)
    else:
        yield annotation


def _kind(plain: list[type]) -> Kind:
    if not plain:
        return "choice"
    names: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    return names[plain[0]]


def _limits(annotation: Any) -> str:
    """Return the numeric limits of an annotation in words, for example "at least 1, at most 4,096"."""
    words = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
    found = []
    for item in _metadata(annotation):
        for attribute, sentence in words.items():
            limit = getattr(item, attribute, None)
            if isinstance(limit, int | float):
                found.append(sentence.format(f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"))
    return ", ".join(found)


def _metadata(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        yield from _metadata(inner)
        for item in metadata:
            yield from item.metadata if isinstance(item, PydanticField) else [item]
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for member in typing.get_args(annotation):
            yield from _metadata(member)
