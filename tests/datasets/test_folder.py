from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mobilenets.datasets.folder import Folder, pictures_below, read_folder
from mobilenets.datasets.listing import SHOWN, Problem, say
from mobilenets.errors import InputError


def put(root: Path, *names: str) -> Path:
    """Make small pictures, each of its own colour."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        value = sum(map(ord, name)) % 256
        Image.new("RGB", (4, 3), (value, len(name), 7)).save(path, "PNG")
    return root


def kinds(found: Folder) -> Counter[str]:
    return Counter(problem.kind for problem in found.problems)


def refused(message: str, *arguments: Any, call: Callable[..., object] = read_folder) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def test_classes_are_sorted_by_code_point(tmp_path: Path) -> None:
    found = read_folder(put(tmp_path, "b/1.png", "a/1.png", "B/1.png", "10/1.png", "9/1.png", "é/1.png"))
    assert found.classes == ("10", "9", "B", "a", "b", "é")
    assert [(sample.path.parent.name, sample.label) for sample in found.samples] == [
        (name, label) for label, name in enumerate(found.classes)
    ]
    assert found.problems == ()
    assert found.root == tmp_path


def test_pictures_lie_at_any_depth_with_any_case(tmp_path: Path) -> None:
    names = ["cat/1.PNG", "cat/deep/er/2.JpG", "cat/a.tiff", "dog/3.webp"]
    found = read_folder(put(tmp_path, *names))
    assert [sample.path.relative_to(tmp_path).as_posix() for sample in found.samples] == [
        "cat/1.PNG",
        "cat/a.tiff",
        "cat/deep/er/2.JpG",
        "dog/3.webp",
    ]


def test_other_files_are_named(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png")
    for name in ("cat/notes.txt", "cat/IMG_1.DNG", "dog/noext"):
        (tmp_path / name).write_bytes(b"x")
    found = read_folder(tmp_path)
    assert kinds(found) == {"not_an_image": 3}
    by_name = {Path(problem.path).name: problem for problem in found.problems}
    assert by_name["IMG_1.DNG"].detail == ".dng is not read: convert it to JPEG or PNG"
    assert by_name["noext"].path == str(tmp_path / "dog" / "noext")
    assert len(found.samples) == 2


def test_empty_class_is_left_out_and_named(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "bird").mkdir()
    found = read_folder(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [(problem.kind, problem.path) for problem in found.problems] == [("empty_class", str(tmp_path / "bird"))]


def test_given_classes_decide_the_labels(tmp_path: Path) -> None:
    put(tmp_path, "dog/1.png", "ant/1.png")
    (tmp_path / "cat").mkdir()
    found = read_folder(tmp_path, ("zebra", "dog", "cat", "ant"))
    assert found.classes == ("zebra", "dog", "cat", "ant")
    assert [(sample.path.parent.name, sample.label) for sample in found.samples] == [("dog", 1), ("ant", 3)]
    assert {(problem.kind, Path(problem.path).name) for problem in found.problems} == {
        ("class_missing", "zebra"),
        ("empty_class", "cat"),
    }


def test_unknown_class_is_refused_with_the_known_names(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "bird/1.png")
    refused("bird; it knows cat, dog", tmp_path, ("cat", "dog"))
    many = tuple(f"class{number}" for number in range(1000))
    refused("class9 and 990 more", tmp_path, many)


def test_a_class_may_be_found_under_another_name(tmp_path: Path) -> None:
    put(tmp_path, "Mutt/1.png", "cat/1.png")
    (tmp_path / "Owl").mkdir()
    others = {"Mutt": "dog", "Hound": "dog", "Owl": "owl"}
    found = read_folder(tmp_path, ("cat", "dog", "owl"), others.get)
    assert [(sample.path.parent.name, sample.label) for sample in found.samples] == [("cat", 0), ("Mutt", 1)]
    # The owls' folder is there, if under another name.
    assert [(problem.kind, Path(problem.path).name) for problem in found.problems] == [("empty_class", "Owl")]
    (tmp_path / "dog").mkdir()
    assert len(read_folder(tmp_path, ("cat", "dog", "owl"), others.get).samples) == 2
    put(tmp_path, "Hound/1.png")
    with pytest.raises(InputError, match="two folders for the class 'dog', 'Hound' and 'Mutt': put them in one folder"):
        read_folder(tmp_path, ("cat", "dog", "owl"), others.get)
    with pytest.raises(InputError, match="does not know: Hound, Mutt"):
        read_folder(tmp_path, ("cat", "dog", "owl"), {"Owl": "owl"}.get)


def test_one_known_class_is_enough(tmp_path: Path) -> None:
    put(tmp_path, "dog/1.png", "dog/outdoors/2.png")
    assert [sample.label for sample in read_folder(tmp_path, ("cat", "dog")).samples] == [1, 1]


def test_unusable_folders(tmp_path: Path) -> None:
    refused("there is no folder", tmp_path / "missing")
    refused("no pictures", tmp_path)
    put(tmp_path, "only/1.png")
    refused("only one class, only", tmp_path)
    refused("is a file", tmp_path / "only/1.png")


def test_a_run_is_no_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match="is a model: give the folder of labelled pictures"):
        read_folder(tmp_path)


def test_what_lies_there_instead_of_pictures(tmp_path: Path) -> None:
    """Downloads whose names have no suffix, or another; videos; archives."""

    def told(name: str, content: bytes) -> str:
        for kind in ("cat", "dog"):
            (tmp_path / name / kind).mkdir(parents=True)
            (tmp_path / name / kind / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_folder(tmp_path / name)
        with pytest.raises(InputError, match=r"has no pictures, but another file such as"):
            pictures_below(tmp_path / name / "cat")
        assert f"no pictures in class folders, but 2 other files such as {tmp_path / name / 'cat' / name}: " in str(
            caught.value
        )
        return str(caught.value).rpartition(": ")[2]

    png = io.BytesIO()
    Image.new("RGB", (4, 3)).save(png, "PNG")
    assert told("001", png.getvalue()) == "let its name end in .png"
    assert told("a.png?w=200", png.getvalue()) == "let its name end in .png"
    assert told("b.jpg_large", b"\xff\xd8\xff\xe0" + bytes(20)) == "let its name end in .jpg"
    assert told("c.mp4", b"\0\0\0\x20ftypisom" + bytes(20)) == "save frames of it as JPEG"
    assert told("d.zip", b"PK\3\4" + bytes(20)) == "unpack it"
    assert told("e.dng", b"II*\0" + bytes(20)) == "convert it to JPEG or PNG"


@pytest.mark.parametrize("classes", [None, ("cat", "dog")])
def test_one_level_too_deep_is_explained(tmp_path: Path, classes: tuple[str, ...] | None) -> None:
    put(tmp_path, "photos/cat/1.png", "photos/dog/1.png")
    refused("one level deeper, in .*photos .cat, dog.: give that folder", tmp_path, classes)


def test_pictures_beside_the_classes_are_mentioned(tmp_path: Path) -> None:
    found = read_folder(put(tmp_path, "cat/1.png", "dog/1.png", "stray.png"))
    assert len(found.samples) == 2
    assert found.notes == (f"1 pictures beside the class folders in {tmp_path} are not used",)


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_have_one_unicode_form(tmp_path: Path) -> None:
    """As where train/ was made on Linux and val/ zipped on a Mac."""
    put(tmp_path / "train", f"{COMPOSED}/1.png", "te/1.png")
    put(tmp_path / "val", f"{DECOMPOSED}/1.png", "te/1.png")
    learned = read_folder(tmp_path / "train")
    measured = read_folder(tmp_path / "val", learned.classes)
    assert learned.classes == read_folder(tmp_path / "val").classes == (COMPOSED, "te")
    assert [sample.label for sample in measured.samples] == [0, 1]
    assert measured.samples[0].path.is_file() and measured.notes == measured.problems == ()
    put(tmp_path / "train", f"{DECOMPOSED}/2.png")
    if len(list((tmp_path / "train").iterdir())) == 3:  # not on a Mac, where both are one folder
        refused(r"'cafe\\u0301' and 'caf\\xe9', which differ only in their Unicode form", tmp_path / "train")


def test_case_makes_no_other_class_in_the_second_half(tmp_path: Path) -> None:
    put(tmp_path / "val", "Cat/1.png", "guide_dog/1.png", "owl/1.png")
    found = read_folder(tmp_path / "val", ("cat", "guide dog", "owl"))
    assert [sample.label for sample in found.samples] == [0, 1, 2]
    assert found.notes == (
        "the class folder val/Cat was used as class cat",
        "the class folder val/guide_dog was used as class guide dog",
    )
    put(tmp_path / "both", "Cat/1.png", "cat/1.png", "x/1.png")
    if len(list((tmp_path / "both").iterdir())) == 3:
        assert read_folder(tmp_path / "both").notes == (
            "Cat and cat are two classes that differ only in upper and lower case",
        )
        assert [s.label for s in read_folder(tmp_path / "both", ("cat", "Cat", "x")).samples] == [0, 1, 2]
        refused("could be 'CAT' or 'Cat'", tmp_path / "both", ("CAT", "Cat", "x"))


LITTER = ("lost+found", "$RECYCLE.BIN", "System Volume Information", ".Trash-1000", "@eaDir", "__MACOSX", "#recycle")


def test_what_systems_leave_behind(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png", *(f"{name}/1.png" for name in LITTER), "cat/@eaDir/1.png", "cat/._1.png")
    put(tmp_path, ".git/1.png", "cat/.ipynb_checkpoints/1.png")
    for name in (
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "1.png:Zone.Identifier",
        "1.pngZone.Identifier",
        "1.AAE",
        "Icon\r",
    ):
        (tmp_path / "cat" / name).write_bytes(b"litter")
    found = read_folder(tmp_path)
    assert found.classes == ("cat", "dog")
    assert len(found.samples) == 2 and found.problems == found.notes == ()


def test_sidecars_are_counted_by_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(30)))
    for name in ("cat", "dog"):
        for number in range(30):
            (tmp_path / name / f"{number}.png.json").write_text("{}")
    (tmp_path / "cat/1.xmp").write_text("x")
    found = read_folder(tmp_path)
    assert kinds(found) == {"not_an_image": 61}
    say(found.problems)
    first = tmp_path / "cat" / "0.png.json"
    assert [record.getMessage() for record in caplog.records] == [
        f"60 files like {first}: .json is not read (not an image)",
        f"{tmp_path / 'cat' / '1.xmp'}: .xmp is not read (not an image)",
    ]


def test_a_missing_package_and_a_video_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "cat/2.MOV").write_bytes(b"x")
    say(read_folder(tmp_path).problems)
    say([Problem("unreadable", f"{number}.heic", "HEIC: install pillow-heif to read it") for number in range(30)])
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'cat/2.MOV'}: .mov is not read: save frames of the video as JPEG (not an image)",
        "30 files like 0.heic: HEIC: install pillow-heif to read it (unreadable)",
    ]


def test_problems_are_listed_up_to_a_number(caplog: pytest.LogCaptureFixture) -> None:
    say([Problem("unreadable", f"{number}.jpg", "the file is empty") for number in range(SHOWN + 302)])
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == SHOWN + 1
    assert lines[0] == "0.jpg: the file is empty (unreadable)" and lines[-1] == "and 302 more (unreadable)"


def link(path: Path, target: Path, folder: bool = False) -> None:
    try:
        path.symlink_to(target, target_is_directory=folder)
    except OSError:
        pytest.skip("links are not allowed here")


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "cat/1.png", "dog/1.png")
    other = put(tmp_path / "other", "x/2.png", "3.png")
    link(data / "cat" / "folder", other, folder=True)
    link(data / "cat" / "linked.png", other / "3.png")
    link(data / "cat" / "loop", data / "cat", folder=True)
    link(other / "up", data / "cat", folder=True)
    link(data / "bird", other / "x", folder=True)
    link(data / "dog" / "gone.png", tmp_path / "nowhere.png")
    link(data / "dog" / "self.png", data / "dog" / "self.png")
    found = read_folder(data)
    assert found.classes == ("bird", "cat", "dog")
    assert [sample.path.relative_to(data).as_posix() for sample in found.samples] == [
        "bird/2.png",
        "cat/1.png",
        "cat/folder/3.png",
        "cat/folder/x/2.png",
        "cat/linked.png",
        "dog/1.png",
    ]
    assert kinds(found) == {"unreadable": 2}


def test_links_do_not_lead_to_other_classes(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "cat/1.png", "dog/1.png")
    link(data / "dog" / "up", data, folder=True)
    link(data / "all", tmp_path, folder=True)
    found = read_folder(data)
    assert [sample.path.relative_to(data).as_posix() for sample in found.samples] == ["cat/1.png", "dog/1.png"]
    assert "all/ is a link to a folder above: not a class" in found.notes
    # A way there and back is no link.
    assert len(pictures_below(data / "cat" / ".." / ".." / "data" / "cat")) == 1


def test_names_of_classes_in_any_writing(tmp_path: Path) -> None:
    """A full-width blank, Persian and emoji with joiners, a no-break blank."""
    names = ("cat\xa0x", "क\u200cख", "苹果\u3000红", "👩\u200d👧")
    assert read_folder(put(tmp_path, *(f"{name}/1.png" for name in names))).classes == names
    put(tmp_path, "a\nb/1.png")
    refused("unprintable name, 'a\\\\nb': rename it", tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="named pipes are POSIX here")
def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert [problem.detail for problem in read_folder(tmp_path).problems] == ["this is not a regular file"]


def test_a_closed_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)  # root, as in containers, may read everything
    refused("cannot be read: Permission denied", tmp_path)


def test_pictures_below(tmp_path: Path) -> None:
    refused("no pictures", tmp_path, call=pictures_below)
    refused("there is no folder", tmp_path / "missing", call=pictures_below)
    put(tmp_path, "b/1.png", "a.png", "c/.hidden.png")
    assert pictures_below(tmp_path) == (tmp_path / "a.png", tmp_path / "b" / "1.png")
