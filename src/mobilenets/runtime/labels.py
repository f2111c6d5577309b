"""What classes mean to people: names by language, and groups such as the bins that kinds of garbage belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.runtime.files import read_json

FILE = "classes.json"
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Label:
    """A class: its names by language (``{"en": "can", "zh": "易拉罐"}``), and its group if it has one."""

    names: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True)
class Group:
    """Several classes under one name, with a colour (``#rrggbb``) to show it in."""

    names: Mapping[str, str] = field(default_factory=dict)
    color: str | None = None


@dataclass(frozen=True)
class Labels:
    """The content of ``classes.json``: classes under the names of their folders, and groups under names of their own.

    A class that it leaves out is called by its folder and belongs to no group.
    """

    classes: Mapping[str, Label]
    groups: Mapping[str, Group] = field(default_factory=dict)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that any name is given in, sorted."""
        names = [part.names for part in self.classes.values()] + [part.names for part in self.groups.values()]
        return tuple(sorted({language for known in names for language in known}))

    def name(self, label: str, language: str | None) -> str:
        """Name a class; by its folder where there is no name in that language."""
        known = self.classes.get(label)
        return label if known is None or language is None else known.names.get(language, label)

    def group(self, label: str) -> str | None:
        """Give the group of a class, or None."""
        known = self.classes.get(label)
        return None if known is None else known.group

    def group_name(self, group: str, language: str | None) -> str:
        """Name a group; as it is called in the file where there is no name in that language."""
        return group if language is None else self.groups[group].names.get(language, group)

    def shown(self, classes: Sequence[str], drawable: Callable[[str], bool] = bool) -> tuple[str, ...]:
        """Name classes for people of any language: ``塑料瓶 plastic bottle``, in the order of the file.

        Left out are names for which ``drawable`` says no, and a class without any is called by its folder. Two classes
        of one name bear their folders too, so that no two are called the same.
        """
        known = [self.classes.get(label, Label()).names for label in classes]
        return _shown(classes, known, drawable)

    def shown_groups(self, groups: Sequence[str], drawable: Callable[[str], bool] = bool) -> tuple[str, ...]:
        """Name groups as ``shown`` names classes."""
        return _shown(groups, [self.groups[group].names for group in groups], drawable)

    def color(self, group: str) -> str | None:
        """Give the colour of a group, or None."""
        return self.groups[group].color

    def members(self, classes: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.intp]] | None:
        """Give the groups that these classes belong to, in the file's order, and the index of each class's group.

        None where some class has no group: probabilities of the groups would not add up to 1.
        """
        own = [self.group(label) for label in classes]
        used = tuple(group for group in self.groups if group in own)
        if not classes or None in own:
            return None
        return used, np.array([used.index(group) for group in own if group is not None])

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``classes.json``."""
        classes = {
            name: {"names": dict(label.names)} | ({} if label.group is None else {"group": label.group})
            for name, label in self.classes.items()
        }
        groups = {
            name: {"names": dict(group.names)} | ({} if group.color is None else {"color": group.color})
            for name, group in self.groups.items()
        }
        return {"classes": classes, "groups": groups}

    @classmethod
    def from_json(cls, value: object) -> Labels:
        """Read what ``to_json`` gave; raises ``InputError`` naming what is wrong."""
        whole = _mapping(value, "it")
        if unknown := sorted(set(whole) - {"classes", "groups"}):
            raise InputError(f"{unknown[0]!r} is not known; give classes and groups")
        groups = {
            name: Group(*_parts(part, f"group {name!r}", "color", _COLOR))
            for name, part in _mapping(whole.get("groups", {}), "groups").items()
        }
        classes = {
            name: Label(*_parts(part, f"class {name!r}", "group", None))
            for name, part in _mapping(whole.get("classes", {}), "classes").items()
        }
        for name, label in classes.items():
            if label.group is not None and label.group not in groups:
                raise InputError(f"class {name!r} is of group {label.group!r}, which is not among the groups")
        return cls(classes, groups)


def read_labels(folder: Path, classes: Sequence[str]) -> Labels | None:
    """Read what ``classes.json`` in a folder says of these classes; None where there is no such file."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        labels = Labels.from_json(read_json(path, "see docs/data.md for what it holds"))
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    # A folder may also bear one of its class's names, such as an English or a Chinese one.
    called = {text.casefold(): label for label in labels.classes.values() for text in label.names.values()}
    found = {name: labels.classes.get(name) or called.get(name.casefold()) for name in classes}
    known = {name: label for name, label in found.items() if label is not None}
    if not known:
        raise InputError(f"{path}: it names none of the class folders; call its classes as they are called")
    return Labels(known, labels.groups)


def _shown(keys: Sequence[str], names: Sequence[Mapping[str, str]], drawable: Callable[[str], bool]) -> tuple[str, ...]:
    words = [
        " ".join(dict.fromkeys(filter(drawable, own.values()))) or key for key, own in zip(keys, names, strict=True)
    ]
    taken = Counter(words) + Counter(keys)
    return tuple(
        word if word == key or taken[word] == 1 else f"{word} {key}" for key, word in zip(keys, words, strict=True)
    )


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{what} must be an object of named values")
    return value


def _parts(value: object, what: str, other: str, form: re.Pattern[str] | None) -> tuple[dict[str, str], str | None]:
    """Read the names of a class or group, and its one other part."""
    entries = _mapping(value, what)
    if unknown := sorted(set(entries) - {"names", other}):
        raise InputError(f"{what}: {unknown[0]!r} is not known; give names and {other}")
    names = _mapping(entries.get("names", {}), f"{what}: names")
    for language, name in names.items():
        if not _LANGUAGE.fullmatch(language) or not isinstance(name, str) or not name.strip():
            raise InputError(f'{what}: give names by language, such as {{"en": "can"}}')
    part = entries.get(other)
    if part is not None and (not isinstance(part, str) or (form and not form.fullmatch(part))):
        raise InputError(f"{what}: {other} {part!r} is not usable" + ("; give it as #rrggbb" if form else ""))
    return dict(names), part
