"""How well a model tells pictures of none of its classes: by its confidence, by the distance, and by both.

    apt-get install fonts-noto-color-emoji tuxpaint-stamps-default unicode-data fonts-dejavu-core fonts-liberation
    python examples/garbage/draw.py garbage --validation 20
    mobilenets train garbage --out garbage-run ...
    python benchmarks/none_of_these.py garbage garbage-run garbage
    mobilenets demo --out demo
    python benchmarks/none_of_these.py letters demo/run demo/digits [--out FILE.json] [--keep DIR]

The known pictures are those of DATA's validation/, the foreign ones are drawn here:

- garbage: 500 scenes as ``examples/garbage/draw.py`` draws them, on the same backgrounds and in the same light, with
  animals, vehicles, instruments, sweets, games, sports and people in place of the 26 kinds.
- letters: 42 letters in twelve fonts, brought to 8 × 8 cells of 16 levels as the digits were. I, O, S, Z, i, l, o, q, s
  and z are left out, which some write as they write digits, and so is b.

AUROC is the probability that a foreign picture looks more foreign than a known one. "caught" is the share of foreign
pictures above the bar that calls 5 % of these known pictures foreign. The distance alone is the first part of the
model's own distance, and both together are that distance.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn import STAMPS, emoji_table
from PIL import Image, ImageDraw, ImageFont
from report import arguments

from mobilenets.measure.known import auroc, find_bar
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import load_classifier
from mobilenets.pictures.decode import decode

FONTS = Path("/usr/share/fonts")
GROUPS = {
    *("animal-mammal", "animal-bird", "animal-reptile", "animal-bug", "transport-ground", "transport-water"),
    *("transport-air", "musical-instrument", "food-sweet", "game"),
}
KINDS = ("animals/birds", "animals/mammals", "animals/insects", "vehicles", "sports", "people", "space")
SCENES = 500
FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono"),
    *("LiberationSans-Regular", "LiberationSans-Italic", "LiberationSerif-Regular", "LiberationSerif-Italic"),
    *("LiberationMono-Regular", "LiberationSansNarrow-Regular"),
)
LETTERS = "ABCDEFGHJKLMNPQRTUVWXYacdefghjkmnprtuvwxy"


def emoji(used: set[str]) -> list[str]:
    """Give the emoji of one sign in GROUPS that the garbage is not made of."""
    single = (one.points[0] for one in emoji_table() if one.subgroup in GROUPS and len(one.points) == 1)
    return [sign for sign in (chr(int(point, 16)) for point in single) if sign not in used]


def draw_scenes(root: Path) -> None:
    """Draw scenes of the garbage set with other things in them."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "garbage"))
    import draw as garbage

    font = garbage.find("NotoColorEmoji*.ttf")
    assert font is not None, garbage.PACKAGES
    shelf = garbage.Shelf(font, STAMPS)
    used = set(" ".join(garbage.SOURCES.values()).split()) | set(garbage.OTHERS.split())
    stamps = [path for part in KINDS for path in sorted((shelf.stamps / part).rglob("*.png"))]
    names = [str(path.relative_to(shelf.stamps)) for path in stamps if not path.stem.endswith("_mirror")]
    things = [*emoji(used), *(name for name in names if name not in used and "basketball" not in name)]
    order = np.random.default_rng(7).permutation(len(things))
    drawn = number = 0
    while drawn < SCENES:
        rng = np.random.default_rng([7, number])
        try:
            picture = garbage.picture(shelf, "", things[order[number % len(things)]], 160, rng)
        except SystemExit:  # an emoji that the font does not have
            picture = None
        number += 1
        if picture is not None:
            (root / f"{drawn:04}.jpg").write_bytes(garbage.encode(picture, rng))
            drawn += 1


def draw_letters(root: Path) -> None:
    """Draw letters as the digits were made: 32 × 32 bits, counted in cells of 4 × 4, then 32 × 32 by bicubic."""
    files = {path.stem: path for path in FONTS.rglob("*.ttf")}
    for name in FACES:
        face = ImageFont.truetype(files[name], 200)
        for letter in LETTERS:
            large = Image.new("L", (400, 400))
            ImageDraw.Draw(large).text((80, 60), letter, fill=255, font=face)
            large = large.crop(large.getbbox())
            wide, high = (max(8, round(32 * side / max(large.size))) for side in large.size)
            bits = np.zeros((32, 32), bool)
            top, left = (32 - high) // 2, (32 - wide) // 2
            bits[top : top + high, left : left + wide] = (
                np.asarray(large.resize((wide, high), Image.Resampling.BOX)) > 127
            )
            levels = np.round(bits.reshape(8, 4, 8, 4).sum(axis=(1, 3)) * 255 / 16).astype(np.uint8)
            picture = Image.fromarray(levels).resize((32, 32), Image.Resampling.BICUBIC)
            picture.save(root / f"{name}-{ord(letter):03}.png")


def measured(run: Path, known: list[Path], foreign: list[Path]) -> dict[str, Any]:
    """Give AUROC, and the share caught at 5 % false alarms, of each score."""
    saved = load_classifier(run)
    assert saved.space is not None, "this model has no distance"
    how, engine = saved.bundle.preprocessing, NetworkEngine(saved.network, torch.device("cpu"))

    def scores(paths: list[Path]) -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, len(paths), 16):
            pictures = [how(decode(path, how.surplus)) for path in paths[start : start + 16]]
            parts.append(engine.features(np.stack(pictures)))
        features, logits = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        assert saved.space is not None
        return {
            "confidence": saved.space.doubts(logits),
            "distance": saved.space.apart(features),
            "both": saved.space.distances(features, logits),
        }

    ours, theirs = scores(known), scores(foreign)
    return {
        "known": len(known),
        "foreign": len(foreign),
        "scores": {
            name: {
                "auroc": auroc(ours[name], theirs[name]),
                "caught": float((theirs[name] > find_bar(ours[name], 0.05)).mean()),
            }
            for name in ours
        },
    }


def main() -> None:
    """Read the command line."""
    parser = arguments(__doc__)
    parser.add_argument("foreign", choices=("garbage", "letters"))
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="draw into this new folder, and keep it")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = sorted(path for path in (asked.data / "validation").rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as place:
        root = asked.keep or Path(place)
        root.mkdir(parents=True, exist_ok=asked.keep is None)
        {"garbage": draw_scenes, "letters": draw_letters}[asked.foreign](root)
        found = measured(asked.run, known, sorted(root.iterdir()))
    print(f"{found['known']} known and {found['foreign']} foreign pictures")
    for name, figures in found["scores"].items():
        print(f"{name:12} AUROC {figures['auroc']:.3f}   caught {figures['caught']:.0%}")
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
