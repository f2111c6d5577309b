"""Settings that cannot be used together."""

from __future__ import annotations

from typing import Any

from mobilenets.errors import InputError

TWO_OF_FOUR = "2:4"
INT8 = "int8"
# How a teacher is learned from.
SOFT = ("temperature", "soft_share", "soft_loss", "feature_weight")


def refuse_together(recipe: Any, defaults: Any) -> None:
    """Raise ``InputError`` where settings of a ``Recipe`` exclude one another; ``defaults`` has those of all."""
    _refuse_with_teacher(recipe, defaults)
    _refuse_sparse(recipe)
    _refuse_int8(recipe)
    if recipe.folds is None:
        return
    if recipe.seeds is not None:
        raise InputError("folds: already several trainings; choose --folds or --seeds")
    if recipe.minutes is not None:
        raise InputError("folds: all folds train equally long, so --minutes cannot end them; give --epochs instead")
    if recipe.steps is not None:
        raise InputError("folds: each fold has fewer steps in an epoch than all pictures; give --epochs, not --steps")


def _refuse_with_teacher(recipe: Any, defaults: Any) -> None:
    if recipe.teacher is None:
        for name in ("unlabelled", *SOFT):
            if getattr(recipe, name) != getattr(defaults, name):
                flag = name.replace("_", "-")
                raise InputError(
                    f"{name}: without effect where nobody teaches; give --teacher MODEL too, or leave --{flag} out"
                )
        return
    if recipe.task != "classification":
        raise InputError(f"teacher: teaches classes of whole pictures so far, not {recipe.task}; leave --teacher out")
    if recipe.folds is not None:
        raise InputError(
            "folds: a teacher that learned from all pictures tells each fold about those held out; use --seeds, or "
            "leave --teacher out"
        )
    if recipe.unlabelled is not None and recipe.balance == "sampling":
        raise InputError("balance: sampling draws by class, and unlabelled pictures have none; use --balance weights")


def _refuse_sparse(recipe: Any) -> None:
    if not recipe.share_of_zeros:
        return
    if recipe.sparsity_pattern == TWO_OF_FOUR and recipe.sparsity not in (None, 0.5):
        raise InputError("sparsity_pattern: 2:4 makes half of the weights 0; leave --sparsity out")
    if recipe.keep != "last":
        raise InputError("sparsity: the best epoch may be one before the weights are sparse; give --keep last")
    whys = {
        "minutes": recipe.minutes is not None,
        "folds": recipe.folds is not None,
        "patience": recipe.patience is not None,
        "boxes": recipe.task == "detection",
    }
    for name in (name for name, wanted in whys.items() if wanted):
        raise InputError(f"sparsity: not with {name} yet; leave one of the two out")


def _refuse_int8(recipe: Any) -> None:
    if recipe.precision != INT8:
        return
    if (
        recipe.weights in ("auto", "none")
        or recipe.freeze != "none"
        or recipe.folds
        or recipe.task != "classification"
        or recipe.share_of_zeros
    ):
        raise InputError(
            "precision int8: goes on from a classifier, with all its weights: use mobilenets quantize RUN DATA"
        )
