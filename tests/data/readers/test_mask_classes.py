"""What classes files say, and what they must not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvserve.data.readers.mask_classes import FILES, find_class_table, read_class_table
from cvserve.errors import InvalidInput


def read(folder: Path, text: str, name: str = "classes.txt"):
    (folder / name).write_text(text, encoding="utf-8")
    return read_class_table(folder / name)


@pytest.mark.parametrize(
    ("text", "by_value", "by_color"),
    [
        # A name a line; what is called unlabelled is void, wherever it stands.
        ("Sky\nRoad\nUnlabelled\n", {0: 0, 1: 1, 2: 255}, {}),
        ("void\nSky\n\nRoad\n", {0: 255, 1: 0, 2: 1}, {}),
        # With values.
        ("7 Sky\n3 Road\n11 Unlabelled", {3: 0, 7: 1, 11: 255}, {}),
        ("0: Sky\n1: Road", {0: 0, 1: 1}, {}),
        # A number in a name is none of those.
        ("Sky\n2 wheeler", {0: 0, 1: 1}, {}),
        # With colours, after or before the name, as CamVid's own label_colors.txt has them.
        ("Sky 128 128 128\nRoad 1 2 3", {0: 0, 1: 1}, {(128, 128, 128): 0, (1, 2, 3): 1}),
        ("64 128 64\tAnimal\n0 0 0\tVoid\n", {0: 0, 1: 255}, {(64, 128, 64): 0, (0, 0, 0): 255}),
        ("name,r,g,b\nSky,128,128,128\n# a remark\nRoad, 1, 2, 3", {0: 0, 1: 1}, {(128, 128, 128): 0, (1, 2, 3): 1}),
        ("4 Sky 9 9 9\n2 Road 1 2 3", {2: 0, 4: 1}, {(1, 2, 3): 0, (9, 9, 9): 1}),
    ],
)
def test_text(tmp_path: Path, text: str, by_value: dict, by_color: dict) -> None:
    table = read(tmp_path, text)
    assert table.by_value == by_value | {255: 255}
    assert table.by_color == by_color


def test_names_of_several_words_and_their_order(tmp_path: Path) -> None:
    table = read(tmp_path, "1 Traffic light 9 9 9\n0 Road 1 2 3\n2 Unlabelled 0 0 0")
    assert table.classes == ("Road", "Traffic light")
    assert table.colors == ((1, 2, 3), (9, 9, 9))
    assert read(tmp_path, "Road 1 2 3\nSky").colors == ()


def test_yaml(tmp_path: Path) -> None:
    text = """
        classes:
          - Sky
          - {name: Building, colour: [128, 0, 0], value: 4}
          - Road
          - {name: Sticker, void: true}
          - {name: Void, void: false}
        void: [30, 255]
    """
    table = read(tmp_path, text, "classes.yaml")
    assert table.classes == ("Sky", "Building", "Road", "Void")
    assert table.by_value == {0: 0, 4: 1, 5: 2, 6: 255, 7: 3, 30: 255, 255: 255}
    assert table.by_color == {(128, 0, 0): 1}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it has no classes"),
        ("void", "it has no classes"),
        ("Sky\nSky", "'Sky' and 'Sky' have the same name Sky"),
        ("3 Sky\n3 Road", "'Sky' and 'Road' have the same value 3"),
        ("Sky 1 2 3\nRoad 1 2 3", r"'Sky' and 'Road' have the same color \(1, 2, 3\)"),
        ("Sky 1 2 300", "over 255"),
        ("255 Sky\n1 Road", "class 'Sky' has the value 255; classes have 0 to 254"),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=rf"classes.txt: .*{fault}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [("classes: [", "is not valid YAML"), ("classes: []", "classes"), ("names: [a]", "names|classes"), ("[]", "it")],
)
def test_yaml_faults(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=rf"classes.yaml:? .*({fault})"):
        read(tmp_path, text, "classes.yaml")


def test_fitting_to_a_model(tmp_path: Path) -> None:
    table = read(tmp_path, "Sky\nRoad\nUnlabelled").fitted(["Road", "Car", "Sky"])
    assert table.by_value == {0: 2, 1: 0, 2: 255, 255: 255}
    with pytest.raises(InvalidInput, match="the model does not know the class 'Sky'; it knows Road"):
        read(tmp_path, "Sky\nRoad").fitted(["Road"])


def test_the_first_file_counts(tmp_path: Path) -> None:
    assert find_class_table(tmp_path) is None
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nA,1,1,1")
    assert find_class_table(tmp_path).classes == ("A",)
    (tmp_path / FILES[1]).write_text("B\n")
    assert find_class_table(tmp_path).classes == ("B",)
