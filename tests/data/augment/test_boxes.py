"""A box that was moved surrounds the same pixels: painted rectangles, found again in what the network would see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import PreprocSpec
from cvserve.data import Augmentation, Objects
from cvserve.data.augment.boxes import augment_example, mosaic
from cvserve.data.augment.placement import Orientation, Placement, SizedImage
from cvserve.data.augment.random_placement import as_served
from cvserve.preproc import Geometry, preprocess, resize_to

SPEC = PreprocSpec(height=96, width=128, resize="letterbox")
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.uint8)
GROUND = 40


def only(**options: object) -> Augmentation:
    return Augmentation(**{**Augmentation.none().model_dump(), **options})


MOVES = only(flip=0.5, vertical_flip=0.5, half_turn=0.5, quarter_turn=0.5, scale=(0.5, 2.0), translate=0.2)


def painted(width: int, height: int, box: tuple[int, int, int, int], label: int = 0, shrink: float = 1) -> tuple:
    """A dull image with one rectangle of the label's colour, kept at `shrink` of its size."""
    image = np.full((height, width, 3), GROUND, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = COLORS[label]
    kept = resize_to(image, max(1, round(width * shrink)), max(1, round(height * shrink)))
    geometry = Geometry(width, height, kept.shape[1] / width, kept.shape[0] / height)
    return SizedImage(kept, geometry), Objects.of([box], [label])


def extent(pixels: np.ndarray, label: int) -> list[int] | None:
    """The extent of a colour: x1, y1, x2, y2 of the pixels that are nearer to it than to any other here."""
    palette = np.vstack([COLORS, [[GROUND] * 3, SPEC.fill]]).astype(int)
    distances = ((pixels[:, :, None].astype(int) - palette) ** 2).sum(-1)
    rows, columns = np.nonzero(distances.argmin(-1) == label)
    if not len(rows):
        return None
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@st.composite
def images(draw: st.DrawFn) -> tuple[int, int, tuple[int, int, int, int], float]:
    # What is kept small is never shown much larger (as in a pipeline), or its edges would blur over many pixels.
    shrink = draw(st.sampled_from([1.0, 0.7]))
    least = 60 if shrink == 1 else 200
    width, height = draw(st.integers(least, 300)), draw(st.integers(least, 300))
    x1, y1 = draw(st.integers(0, width - 30)), draw(st.integers(0, height - 30))
    x2, y2 = draw(st.integers(x1 + 25, width)), draw(st.integers(y1 + 25, height))
    return width, height, (x1, y1, x2, y2), shrink


class TestOneImage:
    @settings(max_examples=150, deadline=None)
    @given(images(), st.integers(0, 10**6), st.sampled_from(["letterbox", "exact"]))
    def test_the_box_is_where_the_pixels_are(self, drawn: tuple, seed: int, rule: str) -> None:
        width, height, box, shrink = drawn
        spec = SPEC.model_copy(update={"resize": rule})
        pixels, boxes, labels, _ = augment_example(
            painted(width, height, box, shrink=shrink), spec, MOVES, np.random.default_rng(seed)
        )
        assert pixels.shape == (96, 128, 3)
        assert labels.tolist() == [0]  # At least this object is always seen.
        np.testing.assert_allclose(boxes[0], extent(pixels, 0), atol=1.5)

    def test_every_orientation_is_drawn(self) -> None:
        """Four corners of different colours: their order in the result shows its orientation."""
        seen = set()
        example = corners()
        for seed in range(200):
            augmentation = only(flip=0.5, vertical_flip=0.5, quarter_turn=0.5)
            pixels, boxes, labels, _ = augment_example(example, SQUARE, augmentation, np.random.default_rng(seed))
            assert sorted(labels.tolist()) == [0, 1, 2, 3]
            for box, label in zip(boxes, labels.tolist(), strict=True):
                assert extent(pixels, label) == box.tolist()
            order = sorted(range(4), key=lambda number: (boxes[number, 1] > 20, boxes[number, 0] > 20))
            seen.add(tuple(labels[order].tolist()))
        assert len(seen) == 8

    @pytest.mark.parametrize(
        ("option", "order"),
        [
            ({"flip": 1.0}, [1, 0, 3, 2]),
            ({"vertical_flip": 1.0}, [2, 3, 0, 1]),
            ({"half_turn": 1.0}, [3, 2, 1, 0]),
            ({"flip": 1.0, "vertical_flip": 1.0}, [3, 2, 1, 0]),
            ({"half_turn": 1.0, "vertical_flip": 1.0}, [1, 0, 3, 2]),
        ],
    )
    def test_what_each_option_does(self, option: dict[str, float], order: list[int]) -> None:
        pixels, _, _, _ = augment_example(corners(), SQUARE, only(**option), np.random.default_rng(0))
        places = [pixels[2, 2], pixels[2, -3], pixels[-3, 2], pixels[-3, -3]]
        np.testing.assert_array_equal(places, COLORS[order])

    def test_without_augmentation_pixels_are_those_of_serving(self) -> None:
        """Off, the pixels are those of preprocess, and boxes those of its geometry."""
        image = np.random.default_rng(0).integers(0, 256, (77, 130, 3), np.uint8)
        for rule in ("letterbox", "exact"):
            spec = SPEC.model_copy(update={"resize": rule})
            example = SizedImage(image, Geometry(130, 77)), Objects.of([[10, 20, 50, 60]], [3])
            pixels, boxes, labels, _ = augment_example(example, spec, Augmentation.none(), np.random.default_rng(0))
            expected, geometry = preprocess(image, spec)
            np.testing.assert_array_equal(pixels, expected)
            np.testing.assert_allclose(boxes, geometry.to_input(np.array([[10, 20, 50, 60]])), atol=1e-4)
            assert labels.tolist() == [3]

    def test_scales_fill_their_range(self) -> None:
        sides = []
        for seed in range(400):
            example = painted(128, 96, (54, 38, 74, 58))
            _, boxes, _, _ = augment_example(example, SPEC, only(scale=(0.5, 2.0)), np.random.default_rng(seed))
            sides.append(boxes[0, 2] - boxes[0, 0])
        assert 10 <= min(sides) < 10.5
        assert max(sides) > 35
        assert np.median(sides) == pytest.approx(20, abs=2)

    def test_objects_mostly_cut_off_are_dropped(self) -> None:
        """Of two objects at the ends of an image shown twice as large, one alone can stay."""
        image, _ = painted(128, 96, (0, 40, 20, 60))
        objects = Objects.of([[0, 40, 20, 60], [108, 40, 128, 60]], [0, 1])
        counts = set()
        for seed in range(50):
            _, boxes, labels, _ = augment_example(
                (image, objects), SPEC, only(scale=(2.0, 2.0)), np.random.default_rng(seed)
            )
            counts.add(len(labels))
            whole = 40 * 40
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            assert (areas >= 0.25 * whole - 1).all()
        assert counts == {1}

    def test_ignored_objects_are_no_targets(self) -> None:
        image, _ = painted(128, 96, (10, 10, 40, 40))
        objects = Objects.of([[10, 10, 40, 40], [50, 50, 70, 70]], [0, 1], ignored=[True, False])
        assert augment_example((image, objects), SPEC, MOVES, np.random.default_rng(1))[2].tolist() in ([1], [])
        none = Objects.of([[10, 10, 40, 40]], [0], ignored=[True])
        _, boxes, labels, _ = augment_example((image, none), SPEC, MOVES, np.random.default_rng(1))
        assert (boxes.shape, labels.shape) == ((0, 4), (0,))


SQUARE = PreprocSpec(height=40, width=40, resize="letterbox")


def corners() -> tuple[SizedImage, Objects]:
    """40 x 40 pixels with a colour in each corner: labels 0, 1 above, 2, 3 below."""
    image = np.full((40, 40, 3), GROUND, np.uint8)
    boxes = [(0, 0, 10, 10), (30, 0, 40, 10), (0, 30, 10, 40), (30, 30, 40, 40)]
    for (x1, y1, x2, y2), color in zip(boxes, COLORS, strict=True):
        image[y1:y2, x1:x2] = color
    return SizedImage(image, Geometry(40, 40)), Objects.of(boxes, range(4))


class TestMosaic:
    @settings(max_examples=80, deadline=None)
    @given(st.lists(images(), min_size=4, max_size=4), st.integers(0, 10**6))
    def test_boxes_are_where_the_pixels_are(self, drawn: list[tuple], seed: int) -> None:
        examples = [
            painted(width, height, box, label, shrink) for label, (width, height, box, shrink) in enumerate(drawn)
        ]
        pixels, boxes, labels, _ = mosaic(examples, SPEC, MOVES, np.random.default_rng(seed))
        assert len(set(labels.tolist())) == len(labels)
        for box, label in zip(boxes, labels.tolist(), strict=True):
            np.testing.assert_allclose(box, extent(pixels, label), atol=1.5)
            assert min(box[2] - box[0], box[3] - box[1]) >= 2

    def test_four_images_fill_the_canvas(self) -> None:
        examples = [painted(200, 150, (0, 0, 200, 150), label) for label in range(4)]
        pixels, boxes, labels, _ = mosaic(examples, SPEC, only(least_visible=0.0), np.random.default_rng(3))
        assert labels.tolist() == [0, 1, 2, 3]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        assert areas.sum() == 96 * 128
        for box, label in zip(boxes.astype(int), labels, strict=True):
            part = pixels[box[1] : box[3], box[0] : box[2]]
            np.testing.assert_array_equal(part, np.broadcast_to(COLORS[label], part.shape))

    def test_fewer_than_four(self) -> None:
        alone = [painted(128, 96, (0, 0, 128, 96))]
        pixels, boxes, _, _ = mosaic(alone, SPEC, only(least_visible=0.0), np.random.default_rng(0))
        assert len(boxes) == 1
        np.testing.assert_array_equal(pixels[-1, -1], SPEC.fill)


class TestOrientation:
    @settings(max_examples=60, deadline=None)
    @given(st.booleans(), st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.data())
    def test_boxes_rectangles_and_pixels_agree(
        self, mirrored: bool, quarters: int, width: int, height: int, data: st.DataObject
    ) -> None:
        x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
        orientation = Orientation(mirrored, quarters)
        image = np.zeros((height, width, 3), np.uint8)
        image[y1:y2, x1:x2] = 1
        laid = orientation.pixels(image)
        assert laid.shape[1::-1] == orientation.size(width, height)
        (box,) = orientation.boxes(np.array([[x1, y1, x2, y2]]), width, height).astype(int).tolist()
        assert laid[box[1] : box[3], box[0] : box[2]].all()
        assert laid.sum() == image.sum()
        assert orientation.undone(tuple(box), width, height) == (x1, y1, x2, y2)


def test_an_image_outside_of_its_window_draws_nothing() -> None:
    image, objects = painted(60, 60, (10, 10, 40, 40))
    placement = Placement(60, 60, Orientation(), (1.0, 1.0), (500.0, 0.0), (0, 0, 128, 96))
    canvas = np.zeros((96, 128, 3), np.uint8)
    placement.draw(image, canvas, "linear")
    boxes, kept = placement.settled(image).visible(objects.boxes, 0.0, 0.0)
    assert (len(boxes), kept.tolist(), canvas.any()) == (0, [False], False)


def test_as_served_is_the_geometry_of_preproc() -> None:
    image, objects = painted(200, 77, (10, 10, 60, 60))
    boxes, _ = as_served(image, SPEC).visible(objects.boxes, 0.0, 0.0)
    expected = preprocess(np.zeros((77, 200, 3), np.uint8), SPEC)[1].to_input(objects.boxes)
    np.testing.assert_allclose(boxes, expected, atol=1e-5)
