"""Images with objects on their way into batches, at the size that augmentation needs."""

from __future__ import annotations

from dataclasses import replace

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.placement import SizedImage
from cvserve.data.augment.random_placement import largest_scale
from cvserve.data.augment.shapes import Shapes
from cvserve.data.objects import DetectionSource, InstanceSource, Objects
from cvserve.data.pipelines.cache import Cache
from cvserve.data.pipelines.sized import decode_sized, read_image, upright_size
from cvserve.data.readers.annotated import AnnotatedSplit
from cvserve.errors import ImageError
from cvserve.preproc import Geometry, preprocess
from cvserve.preproc.geometry import plan


class BoxedImageCache(Cache[SizedImage]):
    """Images with their geometry, and their objects.

    Where augmentation does not move anything, the pixels are those of `preproc.preprocess`. Otherwise they are decoded
    images, shrunk where they are much larger than they are ever shown.

    Args:
        masks: the objects' masks are read, too; they count beside the limit, 3 kB an object.
    """

    def __init__(
        self,
        dataset: DetectionSource,
        spec: PreprocSpec,
        augmentation: Augmentation,
        limit: int,
        *,
        masks: InstanceSource | None = None,
    ) -> None:
        super().__init__(dataset, limit)
        self._source = dataset
        self._masks = masks
        self._spec = spec
        self._augmentation = augmentation
        self._objects: dict[int, Objects] = {}

    def objects(self, index: int) -> Objects:
        """What is in the image, in pixels of the original.

        Raises:
            ImageError: its masks are asked for and cannot be used.
        """
        found = self._objects.get(index)
        if found is None:
            found = self._source.objects(index)
            if self._masks is not None:
                found = replace(found, shapes=Shapes.of(self._masks.object_masks(index)))
            self._objects[index] = found
        return found

    def geometry(self, index: int) -> Geometry:
        """From the upright original to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        kept = self._kept.get(index)
        if kept is not None:
            size = kept.geometry.original_width, kept.geometry.original_height
        else:
            size = upright_size(read_image(self._source, index), self._source.name(index))
        return plan(*size, self._spec).geometry(*size)

    def _load(self, index: int) -> SizedImage:
        data, name = read_image(self._source, index), self._source.name(index)
        self.objects(index)
        size = upright_size(data, name)
        stated = self._source.size(index) if isinstance(self._source, AnnotatedSplit) else None
        if stated is not None and stated != size:
            raise ImageError(
                name, f"is {size[0]} x {size[1]} pixels upright, but its annotations are of {stated[0]} x {stated[1]}"
            )
        if not self._augmentation.moves:
            return SizedImage(*preprocess(data, self._spec, name=name))
        scale_x, scale_y = largest_scale(*size, self._spec, self._augmentation)
        return decode_sized(data, name, size, min(1.0, max(scale_x, scale_y)))
