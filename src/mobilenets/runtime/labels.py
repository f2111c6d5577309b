"""What classes mean to people: names by language, and groups such as the bins that kinds of garbage belong to."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import nfc, read_json
from mobilenets.errors import InputError

FILE = "classes.json"
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
# Control characters and line ends, which break a line of output, and lone surrogates, which UTF-8 does not have.
_UNSHOWABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


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

    def ungrouped(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Give the classes without a group, which keep ``members`` from grouping the others; () without any groups."""
        return tuple(label for label in classes if self.groups and self.group(label) is None)

    def finder(self, classes: Iterable[str]) -> Callable[[str], str | None]:
        """Return a function that says which of these classes a folder is by its name, None where it is none of them.

        A class is found under its own name exactly, else under that or any of its names, compared without case,
        Unicode form (macOS decomposes) and blanks at the ends, and with ``_`` and ``-`` as blanks. The function raises
        ``InputError`` where a folder could be either of two classes.
        """
        own = dict.fromkeys(classes)
        called: dict[str, dict[str, None]] = {}
        for label in own:
            for text in (label, *self.classes.get(label, Label()).names.values()):
                called.setdefault(_plain(text), {})[label] = None

        def find(name: str) -> str | None:
            if name in own:
                return name
            either = list(called.get(_plain(name), ()))
            if len(either) > 1:
                raise InputError(
                    f"the class folder {name!r} could be {either[0]!r} or {either[1]!r}, which both have that name: "
                    "rename it to the one that is meant"
                )
            return either[0] if either else None

        return find

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
            raise InputError(f"unknown key {unknown[0]!r}; use classes and groups")
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
                raise InputError(f"class {name!r} belongs to group {label.group!r}, which is not among the groups")
        return cls(classes, groups)


def read_labels(folder: Path, classes: Sequence[str]) -> Labels | None:
    """Read what ``classes.json`` in a folder says of these class folders; None where there is no such file.

    Raises ``InputError`` for what cannot be read or understood, for a folder that could be either of two classes, for
    two folders that are one class, and where no folder is named.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise InputError(f"{path}: a folder, or a link that points nowhere; put a file there, or remove it")
    value = read_json(path, "see docs/data.md for the format", _once)
    try:
        labels = Labels.from_json(value)
        # A folder may also bear one of its class's names, such as an English or a Chinese one.
        find = labels.finder(labels.classes)
        known: dict[str, str] = {}
        for name in classes:
            label = find(name)
            if label in known:
                raise InputError(
                    f"the class folders {known[label]!r} and {name!r} are one class, {label!r}: put them in one folder"
                )
            if label is not None:
                known[label] = name
        if not known:
            raise InputError("it names none of the class folders; use the names of the folders for its classes")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Labels({name: labels.classes[label] for label, name in known.items()}, labels.groups)


def doubts(labels: Labels | None, classes: Sequence[str], folder: Path | None = None) -> list[str]:
    """Say, a line each, what the user may not expect of a model's labels.

    Some class may lack the group that scoring by group needs; and ``classes.json`` in ``folder``, where pictures are
    measured, may say something else than the model.
    """
    said = []
    if labels is not None and (lacking := labels.ungrouped(classes)):
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        said.append(
            f"no group for {', '.join(map(repr, lacking[:5]))}{more}: there are no scores or answers by group; give "
            f"every class a group in {FILE} before training"
        )
    if folder is not None:
        keeps = "the model keeps what it was trained with; train again to change it"
        try:
            there = read_labels(folder, classes)
            if there is not None and there != labels:
                said.append(f"{folder / FILE} differs from what the model has: {keeps}")
        except InputError as error:
            said.append(f"{error} ({keeps})")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what JSON lets pass: a key given twice, of which the last would win."""
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1:
            raise InputError(f"{key!r} is given twice in one object; keep one of them")
    return dict(pairs)


def _plain(name: str) -> str:
    """Return a name as it is compared with others."""
    folded = nfc(nfc(name).casefold())
    return " ".join(folded.replace("_", " ").replace("-", " ").split()) or folded


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
    for key in value:
        _check_showable(key, what)
    if len({nfc(key) for key in value}) < len(value):
        raise InputError(f"{what} has one name in two Unicode forms; keep one of them")
    return {nfc(key): part for key, part in value.items()}


def is_showable(name: str) -> bool:
    """Whether a name can stand in a line: blanks of any width and the joiners of emoji, Persian or Hindi can."""
    return not any(unicodedata.category(letter) in _UNSHOWABLE for letter in name)


def _check_showable(name: str, what: str) -> None:
    if not is_showable(name):
        raise InputError(f"{what}: {name!r} has a character that cannot be shown, such as a line break; remove it")


def _parts(value: object, what: str, other: str, form: re.Pattern[str] | None) -> tuple[dict[str, str], str | None]:
    """Read the names of a class or group, and its one other part."""
    entries = _mapping(value, what)
    if unknown := sorted(set(entries) - {"names", other}):
        raise InputError(f"{what}: unknown key {unknown[0]!r}; use names and {other}")
    names = _mapping(entries.get("names", {}), f"{what}: names")
    for language, name in names.items():
        if not _LANGUAGE.fullmatch(language) or not isinstance(name, str) or not name.strip():
            raise InputError(f'{what}: give names by language, such as {{"en": "can"}}')
        _check_showable(name, what)
    part = entries.get(other)
    if part is not None and (not isinstance(part, str) or (form and not form.fullmatch(part))):
        raise InputError(f"{what}: {other} {part!r} is not usable" + ("; give it as #rrggbb" if form else ""))
    return {language: nfc(name) for language, name in names.items()}, nfc(part) if isinstance(part, str) else None
