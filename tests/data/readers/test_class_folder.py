"""Folders of images: what is read, what is ignored, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvserve.data import ImageFolder, SplitFractions
from cvserve.errors import InvalidInput, NotFound


def make(root: Path, *names: str) -> Path:
    """Files whose content is their name: the reader does not decode."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def test_split_folders_with_nested_images(tmp_path: Path) -> None:
    make(
        tmp_path,
        "train/rose/b.JPG",
        "train/rose/deep/er/a.png",
        "train/daisy/c.webp",
        "val/rose/d.jpg",
        "val/daisy/e.gif",
    )
    folder = ImageFolder(tmp_path)
    train = folder.split("train")
    assert folder.splits == ("train", "val")
    assert train.classes == ("daisy", "rose")
    assert [train.name(index) for index in range(len(train))] == [
        "train/daisy/c.webp",
        "train/rose/b.JPG",
        "train/rose/deep/er/a.png",
    ]
    assert [train.label(index) for index in range(3)] == [0, 1, 1]
    assert train.image(0) == tmp_path / "train/daisy/c.webp"
    assert [sample.label for sample in folder.split("val").samples] == [0, 1]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_names_of_the_validation_folder(tmp_path: Path, name: str) -> None:
    make(tmp_path, "train/a/1.jpg", "train/b/2.jpg", f"{name}/a/3.jpg", f"{name}/b/4.jpg")
    assert len(ImageFolder(tmp_path).split("val")) == 2


def test_other_files_are_ignored_and_counted(tmp_path: Path) -> None:
    make(
        tmp_path, "train/a/1.jpg", "train/a/notes.txt", "train/a/.hidden.jpg", "train/a/.cache/x.jpg", "train/a/README"
    )
    make(tmp_path, "train/b/2.jpg", "train/b/more.TXT", "train/.git/config", "train/__MACOSX/a/._1.jpg")
    train = ImageFolder(tmp_path).split("train")
    assert len(train) == 2
    assert train.ignored == {".txt": 2, "hidden": 2, "": 1}
    assert train.describe() == (
        f"{tmp_path} train: 2 images in 2 classes (a 1, b 1); 5 files ignored (no suffix 1, .txt 2, hidden 2)"
    )


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    make(tmp_path / "store", "one.jpg")
    make(tmp_path / "set", "train/a/1.jpg", "train/b/2.jpg")
    (tmp_path / "set/train/a/linked").symlink_to(tmp_path / "store")
    (tmp_path / "set/train/a/circle").symlink_to(tmp_path / "set/train/a")
    train = ImageFolder(tmp_path / "set").split("train")
    assert [sample.path.name for sample in train.samples if sample.label == 0] == ["1.jpg", "one.jpg"]


def test_without(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg")
    train = ImageFolder(tmp_path).split("train").without([0])
    assert [sample.path.name for sample in train.samples] == ["2.jpg", "3.jpg"]


class TestOneTree:
    """DIR/<class>/ without split folders."""

    NAMES = [f"{kind}/{number:03d}.jpg" for kind in ("cat", "dog") for number in range(200)]

    def test_every_image_is_in_exactly_one_split(self, tmp_path: Path) -> None:
        make(tmp_path, *self.NAMES)
        folder = ImageFolder(tmp_path)
        splits = [{sample.path for sample in folder.split(name).samples} for name in ("train", "val", "test")]
        assert len(set.union(*splits)) == sum(map(len, splits)) == 400
        assert len(folder.split("all")) == 400
        # 10 % of 400 is 40 +- 6 (one standard deviation); four of them are allowed.
        assert 16 <= len(splits[1]) <= 64
        assert 16 <= len(splits[2]) <= 64

    def test_adding_images_moves_none(self, tmp_path: Path) -> None:
        make(tmp_path, *self.NAMES)
        before = {path: name for name in ("train", "val", "test") for path in _paths(tmp_path, name)}
        make(tmp_path, *(f"cat/new{number}.jpg" for number in range(50)), "cow/1.jpg", "cow/2.jpg", "cow/3.jpg")
        after = {path: name for name in ("train", "val", "test") for path in _paths(tmp_path, name)}
        assert {path: after[path] for path in before} == before

    def test_a_copy_under_another_name_is_in_the_same_split(self, tmp_path: Path) -> None:
        make(tmp_path, *self.NAMES)
        for name in self.NAMES[:40]:
            (tmp_path / f"dog/copy-of-{name.replace('/', '-')}").write_bytes(name.encode())
        for split in ("train", "val", "test"):
            contents = {path.read_bytes() for path in _paths(tmp_path, split)}
            for other in {"train", "val", "test"} - {split}:
                assert not contents & {path.read_bytes() for path in _paths(tmp_path, other)}

    def test_fractions(self, tmp_path: Path) -> None:
        make(tmp_path, *self.NAMES)
        folder = ImageFolder(tmp_path, fractions=SplitFractions(train=0.5, val=0.5, test=0.0))
        assert 160 <= len(folder.split("train")) <= 240
        with pytest.raises(InvalidInput, match="no image of all 400 fell into test"):
            folder.split("test")

    def test_too_few_for_a_split(self, tmp_path: Path) -> None:
        make(tmp_path, "a/1.jpg", "b/2.jpg")
        with pytest.raises(InvalidInput, match="fell into val; add images, raise the fraction of val"):
            ImageFolder(tmp_path, fractions=SplitFractions(train=1.0, val=0.0, test=0.0)).split("val")


def _paths(root: Path, split: str) -> list[Path]:
    return [sample.path for sample in ImageFolder(root).split(split).samples]


class TestRefusals:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="nowhere: there is no such folder"):
            ImageFolder(tmp_path / "nowhere")

    def test_a_file(self, tmp_path: Path) -> None:
        make(tmp_path, "photo.jpg")
        with pytest.raises(InvalidInput, match=r"photo\.jpg is a file; a folder of images is needed"):
            ImageFolder(tmp_path / "photo.jpg")

    def test_no_classes(self, tmp_path: Path) -> None:
        make(tmp_path, "1.jpg", "2.jpg")
        with pytest.raises(InvalidInput, match=r"no class folders \(2 images lie in it directly\); images belong in"):
            ImageFolder(tmp_path)

    def test_one_class(self, tmp_path: Path) -> None:
        make(tmp_path, "train/cat/1.jpg")
        with pytest.raises(InvalidInput, match=r"only one class \(cat\)"):
            ImageFolder(tmp_path)

    def test_an_empty_class(self, tmp_path: Path) -> None:
        make(tmp_path, "train/cat/1.jpg", "train/dog/notes.txt")
        with pytest.raises(InvalidInput, match="dog: this class folder has no images"):
            ImageFolder(tmp_path).split("train")

    def test_other_classes_in_val(self, tmp_path: Path) -> None:
        make(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "val/cow/4.jpg")
        with pytest.raises(InvalidInput, match=r"differ from those of .*train: it has cow in addition and lacks dog$"):
            ImageFolder(tmp_path).split("val")

    def test_a_missing_split(self, tmp_path: Path) -> None:
        make(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
        with pytest.raises(NotFound, match="there is no val folder; it has train"):
            ImageFolder(tmp_path).split("val")

    def test_an_unknown_split(self, tmp_path: Path) -> None:
        make(tmp_path, "cat/1.jpg", "dog/2.jpg")
        with pytest.raises(NotFound, match="no split 'holdout'; it has train, val, test, all"):
            ImageFolder(tmp_path).split("holdout")

    def test_two_validation_folders(self, tmp_path: Path) -> None:
        make(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "valid/a/3.jpg")
        with pytest.raises(InvalidInput, match="val and valid are both val"):
            ImageFolder(tmp_path)

    def test_folders_beside_train_are_named_in_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        make(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "cat/4.jpg", "dog/5.jpg")
        assert ImageFolder(tmp_path).classes == ("a", "b")
        assert caplog.messages == [f"{tmp_path}: only train, val are read, not the folders beside them: cat, dog"]

    def test_classes_beside_a_split_folder(self, tmp_path: Path) -> None:
        make(tmp_path, "cat/1.jpg", "dog/2.jpg", "val/cat/3.jpg")
        with pytest.raises(InvalidInput, match=r"a val folder beside other folders \(cat, dog\) but no train folder"):
            ImageFolder(tmp_path)


class TestClassesOfAModel:
    def test_its_label_order_counts_and_train_is_not_needed(self, tmp_path: Path) -> None:
        make(tmp_path, "val/cat/1.jpg", "val/dog/2.jpg")
        val = ImageFolder(tmp_path, classes=["dog", "cow", "cat"]).split("val")
        assert val.classes == ("dog", "cow", "cat")
        assert [(sample.path.parent.name, sample.label) for sample in val.samples] == [("dog", 0), ("cat", 2)]

    def test_one_class_folder_is_enough(self, tmp_path: Path) -> None:
        make(tmp_path, "cat/1.jpg", "cat/2.jpg")
        assert [sample.label for sample in ImageFolder(tmp_path, classes=["dog", "cat"]).split("all").samples] == [1, 1]

    def test_a_class_that_it_does_not_know(self, tmp_path: Path) -> None:
        make(tmp_path, "val/cat/1.jpg", "val/cow/2.jpg")
        with pytest.raises(InvalidInput, match="does not know: cow; it knows dog, cat"):
            ImageFolder(tmp_path, classes=["dog", "cat"]).split("val")
