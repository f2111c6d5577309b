"""What ``shrink`` trains: where each candidate begins, and the rungs of successive halving."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mobilenets.base.notes import log
from mobilenets.base.progress import about
from mobilenets.base.text import counted
from mobilenets.bench.channels import milliseconds
from mobilenets.models.int8 import float_part
from mobilenets.models.network import Network
from mobilenets.models.prune import groups
from mobilenets.models.prune import prune as without
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.runs.further import starting_from, write_start
from mobilenets.runs.record import RECIPE
from mobilenets.runtime.bundle import WEIGHTS
from mobilenets.shrinking.candidates import FLOAT, Candidate, Measured, architecture_of, least_of_each
from mobilenets.shrinking.device import Device
from mobilenets.shrinking.front import Point, share, survivors
from mobilenets.shrinking.halving import FEW, THIRD, Budget, Pace, epochs_of, fitting, rungs
from mobilenets.shrinking.judged import Judged
from mobilenets.shrinking.limit import Limit
from mobilenets.shrinking.points import Lines
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.verbs.prune import narrowed, narrowed_there, worth
from mobilenets.verbs.train import train_since

SECONDS = 0.5
# Of a rung's time, what the control may take beyond what all others get, to be trained as long as the run was.
AS_LONG = 0.3
# Before anything was timed: seconds a multiply-accumulate and picture on one core, and of a training besides.
FIRST = Pace(2e-10, 5.0)


@dataclass
class Search:
    """All that the rungs need. ``whole`` is for how many epochs the run was trained, and ``pictures`` on how many.

    ``longest`` is for how many epochs the last candidates are, over all rungs.
    ``measured`` has what is tried, by name and precision, and ``run_ms`` the milliseconds of the run's own network,
    both on the ``device`` where there is one; ``here_ms`` are those here; ``pace`` follows what was trained last.
    ``taken`` are the milliseconds that the run's own network took whenever something was timed.
    """

    run: Path
    data: Path
    saved: SavedModel
    recipe: Recipe
    whole: int
    longest: int
    pictures: int
    work: Path
    lines: Lines
    judged: Judged
    limit: Limit | None
    threads: int
    measured: dict[tuple[str, str], Measured]
    run_ms: float
    here_ms: float
    device: Device | None = None
    budget: Budget = Budget(None, 0.0, time.monotonic)
    pace: Pace = FIRST
    control: Candidate | None = None
    taken: list[float] = field(default_factory=list)

    def points(self) -> list[Point]:
        """Give all points, the oldest first."""
        return [Point.from_json(line) for line in self.lines.of("point")]

    def macs(self, candidate: Candidate) -> int:
        """Give the multiply-accumulates of a picture."""
        return self.measured[candidate.plain.name, FLOAT].macs


def climb(search: Search, first: Sequence[Candidate]) -> None:
    """Train rung after rung, each time the better third of the candidates; what was done before is not done again."""
    entries, rung, number = list(first), 0, len(rungs(len(first)))
    while entries:
        entries = _rung(search, entries, rung, max(1, number - rung))
        reached = [point for point in search.points() if point.rung == rung and point.precision == FLOAT]
        if len(entries) <= FEW or rung + 1 == number or not reached:
            return
        most = max(FEW, math.ceil(len(entries) / THIRD))
        limited = search.limit is not None
        kept = [point.candidate for point in survivors(reached, most, limited=limited)]
        entries = with_twins(kept, search.control)
        rung += 1


def with_twins(kept: Sequence[Candidate], control: Candidate | None) -> list[Candidate]:
    """Add to those that are trained longer the control, and a twin of each that the run teaches."""
    found = list(dict.fromkeys([*kept, *([control] if control is not None else [])]))
    twins = [replace(one, taught=True) for one in kept if not one.taught]
    return list(dict.fromkeys([*found, *twins]))


def _rung(search: Search, entries: Sequence[Candidate], rung: int, left: int) -> list[Candidate]:
    """Train candidates for as many epochs as fit; returns those that were."""
    begun = [line for line in search.lines.of("rung") if line["rung"] == rung]
    if begun:
        plan = begun[-1]
    else:
        plan = _plan(search, entries, rung, left)
        search.lines.add("rung", plan)
    chosen = [Candidate(**one) for one in plan["candidates"]]
    done = {point.candidate.name for point in search.points() if point.rung == rung and point.precision == FLOAT}
    for place, candidate in enumerate(chosen):
        if candidate.name in done:
            continue
        epochs = plan["epochs"] + (plan["longer"] if candidate == search.control else 0)
        macs = search.macs(candidate)
        need = search.pace.epoch(macs, search.pictures) + search.pace.besides
        if search.budget.training() < need and (place or rung):
            log.info("%s: not trained, because the time is up", candidate.name)
            continue
        began = time.monotonic()
        log.info(
            "round %d, %d of %d: %s for %s", rung + 1, place + 1, len(chosen), candidate.name, counted(epochs, "epoch")
        )
        if _train(search, candidate, rung, epochs, began):
            done.add(candidate.name)
    return [one for one in chosen if one.name in done]


def _plan(search: Search, entries: Sequence[Candidate], rung: int, left: int) -> dict[str, Any]:
    """Say what a rung trains: the candidates, their epochs, and how many more the control gets in the first one."""
    macs = [search.macs(one) for one in entries]
    seconds = search.budget.training() / left
    if math.isinf(seconds):
        count, epochs = len(entries), epochs_of(search.longest, rung + left)[rung]
        longer = search.whole if rung == 0 else 0
    else:
        an_epoch = 0.0 if search.control is None else search.pace.epoch(search.macs(search.control), search.pictures)
        longer = int(min(search.whole, AS_LONG * seconds / an_epoch)) if rung == 0 and an_epoch else 0
        most = epochs_of(search.longest, rung + left)[rung]
        count, epochs = fitting(seconds - longer * an_epoch, search.pace, macs, search.pictures, most)
        log.info(
            "round %d: %s for %s, in %s",
            rung + 1,
            counted(count, "candidate"),
            counted(epochs, "epoch"),
            about(seconds),
        )
    chosen = list(entries[:count])
    if chosen == [search.control] and len(entries) > 1 and not math.isinf(seconds):
        # What goes on from the run needs less time to be good than the control, which is there to be compared with.
        chosen = [next((one for one in entries if one.how != "anew"), entries[0])]
        _, epochs = fitting(seconds, search.pace, [search.macs(chosen[0])], search.pictures, most)
    if search.control not in chosen:
        longer = 0
    return {"rung": rung, "epochs": epochs, "longer": longer, "candidates": [one.to_json() for one in chosen]}


def _train(search: Search, candidate: Candidate, rung: int, epochs: int, began: float) -> bool:
    """Train a candidate further, ask it about the pictures, and write its point down; says whether that could be."""
    folder = search.work / f"{candidate.name}-{rung}"
    before = _latest(search, candidate, rung)
    if (folder / RECIPE).exists():
        trained = train_since(began, search.data, folder, resume=True, measured=False)
    else:
        # No picture held out may say when it ends: figures are taken on them.
        recipe = _recipe(search, candidate, before).replace(epochs=epochs, keep="last", patience=None)
        if not math.isinf(search.budget.left()):
            recipe = recipe.replace(minutes=max(search.budget.training(), 1.0) / 60)
        # Asked for by itself: a recipe states no size that is the usual one, and then another could be chosen.
        trained = train_since(began, search.data, folder, recipe=recipe, size=candidate.size, measured=False)
    if taught := search.judged.learned(folder):
        log.warning(
            "%s: left out, because it learned from %d of the held-out pictures; give train/ and validation/",
            candidate.name,
            taught,
        )
        return False
    model = load_classifier(folder).network
    known = search.measured[candidate.plain.name, FLOAT]
    if candidate.how == "pruned" and known.macs != model.plan.macs:
        known = remeasured(search, candidate, known, model)
    seconds = time.monotonic() - began
    macs = known.macs
    search.pace = Pace(
        max(trained["seconds"], 1e-3) / (max(1, trained["epochs"]) * macs * search.pictures),
        max(0.0, seconds - trained["seconds"]),
    )
    own = before.epochs if before is not None else 0 if candidate.how == "anew" else search.whole
    point = Point(
        candidate=candidate,
        precision=FLOAT,
        rung=rung,
        epochs=own + trained["epochs"],
        ms=known.ms,
        estimated=known.estimated,
        bytes=known.bytes,
        macs=macs,
        seconds=seconds,
        folder=folder.name,
        **search.judged.answers(folder, search.threads),
    )
    search.lines.add("point", point.to_json())
    log.info("%s: %.1f %% right, %.3g ms", point.name, 100 * share(point.choosing), point.ms)
    return True


def remeasured(search: Search, candidate: Candidate, known: Measured, model: Network) -> Measured:
    """Time a pruned network, whose channels are known only now, in turns with the run's; or by a device's layers."""
    own = search.saved.network
    if search.device is not None and (layers := search.device.layers) is not None:
        left = {group.name: group.channels for group in groups(model.architecture, model.plan)}
        ms = layers.without(groups(own.architecture, own.plan), left)
    else:
        whole, takes = milliseconds([own, model], search.threads, SECONDS)
        search.taken.append(whole)
        ms = takes / whole * search.run_ms
    size = round(known.bytes * model.plan.parameters / (candidate.share * own.plan.parameters))
    found = replace(known, ms=ms, macs=model.plan.macs, bytes=size, estimated=search.device is not None)
    search.measured[candidate.plain.name, FLOAT] = found
    return found


def _latest(search: Search, candidate: Candidate, rung: int) -> Point | None:
    """Give the point that a candidate goes on from: its own, or the one of its untaught twin."""
    names = (candidate.name, candidate.plain.name)
    found = [one for one in search.points() if one.rung < rung and one.precision == FLOAT]
    for name in names:
        own = [one for one in found if one.candidate.name == name]
        if own:
            return own[-1]
    return None


def _recipe(search: Search, candidate: Candidate, before: Point | None) -> Recipe:
    """Give the recipe of a candidate: it goes on from its last point, from channels of the run, or begins anew."""
    recipe = search.recipe
    if candidate.taught:
        recipe = recipe.replace(teacher=str(search.run))
    if before is not None:
        return starting_from(recipe, search.work / before.folder)
    if candidate.how == "anew":
        architecture = architecture_of(candidate, search.saved.network.architecture, 0)
        return recipe.replace(
            model=candidate.network,
            width=candidate.width,
            size=candidate.size,
            variant=architecture.variant,
            table=None,
            weights="none" if recipe.weights == "none" else AUTO,
        )
    start = search.run if candidate.how == "run" else _start(search, candidate)
    return starting_from(recipe, start).replace(size=candidate.size)


def _start(search: Search, candidate: Candidate) -> Path:
    """Write the run's network without some of its channels, at the candidate's size, as a model to train from."""
    start = search.work / f"start-{candidate.plain.name}"
    if (start / WEIGHTS).exists():
        return start
    saved = resized(search.saved, candidate.size)
    if candidate.how == "pruned" and (there := search.device) is not None and there.layers is not None:
        left = narrowed_there(saved, search.run, search.data, candidate.share, there.layers)
    elif candidate.how == "pruned":
        left = narrowed(saved, search.run, saved, search.data, candidate.share, search.threads)
    else:
        found = groups(saved.network.architecture, saved.network.plan)
        gone = least_of_each(found, worth(saved, search.run, search.data), candidate.share)
        left = replace(saved, network=without(saved.network, gone))
    write_start(left, search.run, start, candidate.how)
    return start


def resized(saved: SavedModel, size: int) -> SavedModel:
    """Give the same network and weights for pictures of another size."""
    if size == saved.network.architecture.size:
        return saved
    network = Network(replace(saved.network.architecture, size=size), saved.network.classes)
    network.load_state_dict(float_part(saved.network.state_dict()))
    preprocessing = replace(saved.bundle.preprocessing, size=size)
    bundle = replace(saved.bundle, architecture=network.architecture.to_json(), preprocessing=preprocessing)
    return replace(saved, network=network.eval(), bundle=bundle)
