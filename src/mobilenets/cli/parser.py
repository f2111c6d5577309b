"""A verb of the command line, and a parser whose complaints are one line."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mobilenets.base.shell import quote
from mobilenets.errors import InputError
from mobilenets.training.synonyms import ours

_KINDS = {"int": "a whole number", "float": "a number"}
# What other tools call the verbs.
_VERBS = {
    **dict.fromkeys(
        ("fit", "finetune", "fine-tune", "fine_tune", "learn", "retrain", "run", "resume", "distill"), "train"
    ),
    **dict.fromkeys(("val", "validate", "valid", "eval", "test", "score", "metrics", "report"), "evaluate"),
    **dict.fromkeys(("classify", "infer", "inference", "detect", "label", "ask", "explain"), "predict"),
    **dict.fromkeys(("convert", "save", "deploy", "tflite", "onnx"), "export"),
    **dict.fromkeys(("doctor", "lint", "inspect", "analyze", "analyse", "clean", "verify", "duplicates"), "check"),
    **dict.fromkeys(("info", "show", "describe", "model", "models", "list", "ls", "networks"), "summary"),
    **dict.fromkeys(("app", "ui", "gui", "web", "server", "page"), "serve"),
    **dict.fromkeys(("download", "get", "data", "dataset"), "fetch"),
    **dict.fromkeys(("bench", "speed", "latency", "profile", "time"), "benchmark"),
    **dict.fromkeys(("quantise", "int8", "qat"), "quantize"),
    **dict.fromkeys(("sweep", "search", "hpo", "optimize", "optimise"), "tune"),
    "diff": "compare",
    "example": "demo",
    "load": "import",
}
# Flags of other tools for what is an argument without a flag here, and for how much is said.
_PLACES = (
    *("data", "data-dir", "data-path", "dataset", "train-dir", "root", "path", "source", "input"),
    *("image", "images", "folder", "files", "model", "run", "name"),
)
_TALK = ("verbose", "quiet", "v", "q", "vv", "silent", "debug", "log-level", "no-progress", "plots", "show", "plot")


@dataclass(frozen=True)
class Verb:
    """One verb: its line in the help, an example, and two functions.

    ``add_arguments`` fills a parser, when this verb is the one that was called. ``run`` takes the parsed options,
    prints the result, and returns the exit status.
    """

    name: str
    about: str
    example: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line that says what fits, or names the help.

    That of a ``verb`` gets its arguments when it is used, so that the help of one verb does not load what others name.
    ``everything``: the help also shows what it otherwise leaves out for brevity.
    """

    def __init__(self, *, verb: Verb | None = None, everything: bool = False, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self._verb, self.everything = verb, everything
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the verb's own arguments."""
        self._words = args or ()
        if self._verb is not None:
            verb, self._verb = self._verb, None
            self.add_argument(
                "--json", action="store_true", help="print JSON on standard output, and nothing else there"
            )
            verb.add_arguments(self)
            # Known to every verb, so that nobody needs to remember which have more to show.
            self.add_argument("--help-all", action="help", help=argparse.SUPPRESS)
            self.set_defaults(run=verb.run, example=verb.example, flags=tuple(self._option_string_actions))
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what ``main`` prints."""
        value = re.fullmatch(r"argument ([^:]*): invalid (\w+) value: (.*)", message, re.DOTALL)
        if value:
            raise InputError(f"{value[1]} {value[3]}: give {_KINDS.get(value[2], value[2])}")
        wrong = re.fullmatch(r"argument VERB: invalid choice: (.*) \(choose from (.*)\)", message)
        if wrong:
            verbs = re.findall(r"[\w-]+", wrong[2])
            word = wrong[1].strip("'")
            close = [_VERBS[word]] if word in _VERBS else difflib.get_close_matches(word, verbs, n=1, cutoff=0.65)
            hint = f"did you mean {close[0]}?" if close else f"choose {', '.join(verbs)}"
            if Path(word).is_dir():
                hint = f"put a verb before it, as in mobilenets train {quote(word)}"
            raise InputError(f"unknown verb {wrong[1]}: {hint} (see {self.prog} --help)")
        missing = re.fullmatch(r"the following arguments are required: (.*)", message)
        greedy = [word for word in self._words if getattr(self._option_string_actions.get(word), "nargs", None) == "+"]
        if missing and greedy:
            raise InputError(f"give {missing[1]} before {greedy[-1]}, which takes all that stands behind it")
        if missing and self.epilog and "\n" not in self.epilog:
            example = self.epilog.removeprefix("example: ")
            raise InputError(f"give {missing[1]}, as in: {example} (see {self.prog} --help)")
        if missing:
            raise InputError(f"give a {missing[1]}, as in: mobilenets train photos (see {self.prog} --help)")
        raise InputError(f"{message} (see {self.prog} --help)")


def unknown_word(word: str, flags: Sequence[str], verb: str, arguments: Sequence[str] = (), example: str = "") -> str:
    """Say that nothing goes by that word, and which flag was perhaps meant; ``example`` shows the verb's arguments."""
    return f"unknown argument {word!r}{_hint(word, flags, verb, arguments, example)} (see mobilenets {verb} --help)"


def _hint(word: str, flags: Sequence[str], verb: str, arguments: Sequence[str], example: str) -> str:
    name, _, value = word.partition("=")
    if name in flags:
        return f": put it behind the verb, as in mobilenets {verb} … {word}"
    if os.path.lexists(word) and word.startswith("-"):
        return f": give the file as {quote(f'.{os.sep}{word}')}"
    if not name.startswith("-") and not value:
        there = os.path.lexists(word) or any(one.startswith("--out") for one in arguments)
        return f": to write there, give --out {quote(word)}" if "--out" in flags and not there else ""
    plain = name.lstrip("-").replace("_", "-")
    if f"--{plain}" in flags:  # --out_dir for --out-dir, or name=value, as Ultralytics and Hydra write it
        return f": write --{plain}" + (f" {quote(value)}" if value else "")
    if plain in _PLACES:
        return f": {plain} is given without a flag, as in: {example}"
    if plain in _TALK:
        return ": progress and notes go to standard error, the results to standard output; --json prints them as JSON"
    meant = ours(plain, {flag.lstrip("-").replace("-", "_") for flag in flags})
    if meant:
        return f": did you mean --{meant[0].replace('_', '-')}{meant[1] and f' {meant[1]}'}?"
    close = difflib.get_close_matches(f"--{plain}", flags, n=1, cutoff=0.7)
    return f": did you mean {close[0]}?" if close else ""
