"""``compare RUN RUN DATA``: two models on the same pictures. Is the second better, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import write_json
from mobilenets.datasets.listing import say
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards.open import open_data
from mobilenets.doctor.quick import Looking
from mobilenets.errors import InputError
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import DetectionPair, Pair, mcnemar, pictures_needed, smallest_difference
from mobilenets.runs.copies import copies_in_training
from mobilenets.runs.detection.measured import boxes_to_compare
from mobilenets.runs.folder import check_folder
from mobilenets.runs.held_out import pictures_to_compare
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.test_set import opened_by_compare
from mobilenets.runtime.detections import Detections
from mobilenets.runtime.found import shown_from
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors

SURE = 0.05


def compare_boxes(
    models: Sequence[Path],
    predictors: Sequence[Predictor],
    data: Path,
    order: npt.NDArray[np.int64],
    folder: Path | None,
) -> dict[str, Any]:
    """Compare two detectors, as ``compare_models`` does; ``order`` is the place of each class among the second's.

    ``change`` is the AP of the second minus that of the first, with a 95 % bootstrap interval by picture, both in the
    same resamples; ``better`` is ``second`` or ``first`` where that interval is on one side of 0. ``ap50_change`` is
    the same of AP50.
    """
    if not all(predictor.places for predictor in predictors):
        raise InputError("one of the two finds boxes, the other tells whole pictures apart: compare models of one task")
    measured = boxes_to_compare(models, data, predictors[0].classes)
    ours, theirs = evaluate_predictors(predictors, measured.samples, measured.root, "comparing")
    assert isinstance(ours, DetectionEvaluation) and isinstance(theirs, DetectionEvaluation)
    places = np.argsort(order)
    found = [Detections(one.corners, one.scores, places[one.labels]) for one in theirs.found]
    theirs = replace(theirs, classes=ours.classes, found=found)
    evaluations = [
        replace(one, threshold=shown_from(predictor.bundle))
        for one, predictor in zip((ours, theirs), predictors, strict=True)
    ]
    pair = DetectionPair(*evaluations)
    contents = [measured.contents[sample.path] for sample in measured.samples]
    result = {
        "models": [
            {"model": str(model), **{key: found[key] for key in ("ap", "ap_interval", "ap50", "ap50_interval")}}
            for model, found in zip(models, (one.to_json() for one in evaluations), strict=True)
        ],
        "images": len(measured.samples),
        "boxes": int(ours.counted.sum()),
        "evaluated_on": measured.which,
        **_figures(pair),
        "notes": [*measured.notes, *opened_by_compare(models, measured.which, contents)],
        "problems": [asdict(one) for one in measured.problems],
    }
    if folder is not None:
        write_json(folder / "compare.json", result)
    return result


def _figures(pair: DetectionPair) -> dict[str, Any]:
    interval, better = pair.ap_change_interval, None
    if interval is not None and not interval[0] <= 0 <= interval[1]:
        better = "second" if interval[0] > 0 else "first"
    known = not np.isnan(pair.ap_change)
    return {
        "change": pair.ap_change if known else None,
        "change_interval": None if interval is None else list(interval),
        "ap50_change": pair.ap50_change if known else None,
        "ap50_change_interval": None if pair.ap50_change_interval is None else list(pair.ap50_change_interval),
        "better": better,
    }


def compare_models(
    first: str | Path,
    second: str | Path,
    data: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    runtime: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Say whether the second of two models is better, by pictures that neither learned from.

    Parameters
    ----------
    first, second:
        Run folders, bundles, or exported files beside their ``model.json``; of the same classes, in any order.
    data:
        Labelled pictures. Those of ``test/`` are used where there is one, else of ``validation/``, else all class
        folders; what either model learned from is left out, known by content.
    out:
        A folder to write ``compare.json`` and ``compare.png`` to.
    device, runtime, threads:
        As in ``Predictor``.

    Detectors are compared by AP, with a bootstrap interval by picture in place of the test.

    Returns the object of ``compare --json``. ``better`` is ``second`` or ``first`` where the exact test of McNemar has
    ``p_value`` below 0.05, else None. ``change`` is the top-1 of the second minus that of the first, with Newcombe's
    95 % ``change_interval`` for pairs. ``copies`` of each of ``models`` are as
    in ``evaluate``. ``pictures_needed`` is how many pictures would show the change that was
    seen, and ``smallest_difference`` what these ones show, in 80 of 100 attempts. Raises ``InputError`` for models or
    pictures that cannot be compared.

    >>> result = mobilenets.compare_models("run", "run", "photos")
    >>> result["images"], result["better"], result["p_value"]
    (12, None, 1.0)

    """
    data = open_data(data)
    folder = None if out is None else check_folder(Path(out))
    models = Path(first), Path(second)
    one, other = predictors = [Predictor(model, device, runtime=runtime, threads=threads) for model in models]
    order = _order(one.classes, other.classes)
    if one.places or other.places:
        return compare_boxes(models, predictors, data, order, folder)
    if folder is not None:
        import mobilenets.drawing.pair  # noqa: F401  # a bare install has nothing to draw with, and says so here
    chosen = pictures_to_compare(models, data, one.classes)
    looking = Looking()
    samples, unreadable = check_readable(chosen.folder.samples, look=looking)
    problems = [*chosen.folder.problems, *unreadable]
    say(problems)
    if not samples:
        raise InputError(f"{data}: no readable picture to compare on")
    notes = list(chosen.folder.notes)
    ours, theirs = map(classified, evaluate_predictors(predictors, samples, chosen.folder.root, "comparing"))
    # The samples are labelled in the order of the first model's classes.
    pair = Pair(ours, Evaluation(ours.classes, theirs.images, theirs.labels, theirs.logits[:, order]))
    notes += opened_by_compare(models, chosen.which, [chosen.contents[sample.path] for sample in samples])
    result = {
        "models": [
            {
                "model": str(model),
                "learned": learned,
                "top1": found.top1,
                "top1_interval": list(found.top1_interval),
                "copies": copies_in_training(model, samples, chosen.folder.root, looking, found, chosen.contents),
            }
            for model, learned, found in zip(models, chosen.learned, (pair.reference, pair.candidate), strict=True)
        ],
        "images": len(samples),
        "evaluated_on": chosen.which,
        **figures(pair),
        "notes": notes,
        "problems": [asdict(one) for one in problems],
    }
    if folder is not None:
        from mobilenets.drawing.pair import pair_figure
        from mobilenets.drawing.style import save

        write_json(folder / "compare.json", result)
        save(pair_figure(result), folder / "compare.png")
    return result


def _order(ours: tuple[str, ...], theirs: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Give the place of each of our classes among theirs; raises ``InputError`` where they are not the same."""
    if set(ours) != set(theirs):
        lacking, more = ([*set(one) - set(other)] for one, other in ((ours, theirs), (theirs, ours)))
        only = "; ".join(
            f"only the {which} knows {', '.join(sorted(some)[:5])}"
            for which, some in (("first", lacking), ("second", more))
            if some
        )
        raise InputError(f"the two models tell different classes apart: {only}; compare models of the same classes")
    return np.array([theirs.index(name) for name in ours], np.int64)


def figures(pair: Pair) -> dict[str, Any]:
    """Give what the pairs of answers say."""
    both, lost, gained, neither = pair.table
    number = sum(pair.table)
    p_value = mcnemar(lost, gained)
    discordant = (lost + gained) / number
    better = None if p_value >= SURE else "second" if gained > lost else "first"
    return {
        "both_right": both,
        "only_first_right": lost,
        "only_second_right": gained,
        "neither_right": neither,
        "same_answers": pair.same,
        "change": pair.top1_change,
        "change_interval": list(pair.top1_change_interval),
        "p_value": p_value,
        "better": better,
        "pictures_needed": pictures_needed(discordant, pair.top1_change),
        "smallest_difference": smallest_difference(discordant, number),
    }
