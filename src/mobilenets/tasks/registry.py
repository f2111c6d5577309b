"""The tasks by name. What a test or a user registers is found as the built-in ones are."""

from __future__ import annotations

from mobilenets.errors import InputError
from mobilenets.runtime.answers import register_answers
from mobilenets.tasks.base import Task
from mobilenets.tasks.classification.task import Classification
from mobilenets.tasks.detection.task import BoxTask

_TASKS: dict[str, Task] = {"classification": Classification(), "detection": BoxTask()}


def find_task(name: str) -> Task:
    """Look a task up; raises ``InputError`` with the names there are.

    >>> find_task("classification").metric.words
    'top-1'

    """
    if name not in _TASKS:
        raise InputError(
            f"unknown task {name!r}: choose {', '.join(_TASKS)}, or register your own with mobilenets.register_task"
        )
    return _TASKS[name]


def register_task(task: Task) -> None:
    """Make a task known by its name, for training and for models that were trained on it."""
    if task.name in _TASKS and type(_TASKS[task.name]) is not type(task):
        raise InputError(f"there is another task {task.name!r}: choose another name")
    _TASKS[task.name] = task
    register_answers(task.name, task.answers)
