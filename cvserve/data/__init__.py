"""Reads or generates labelled images, augments and batches them. Only `epoch` imports TensorFlow."""

from cvserve.data.augment.augment import Augmentation, augment
from cvserve.data.dataset import Dataset, open_dataset, same_data
from cvserve.data.masks import VOID
from cvserve.data.objects import Objects
from cvserve.data.pipelines.captioning import CaptionPipeline, all_captions
from cvserve.data.pipelines.classification import ImagePipeline, image_dataset
from cvserve.data.pipelines.detection import DetectionPipeline
from cvserve.data.pipelines.segmentation import SegmentationPipeline
from cvserve.data.problems import BadImage, verify
from cvserve.data.readers.annotated import AnnotatedImage, AnnotatedSplit
from cvserve.data.readers.captioned import CaptionedImage, CaptionedSplit
from cvserve.data.readers.class_folder import ImageFolder, Sample, Split
from cvserve.data.readers.masked import LabelledImage, MaskedSplit
from cvserve.data.scenes import Scene, Scenes, write_captions, write_coco, write_image_folder, write_mask_folder
from cvserve.data.source import CaptionSource, DetectionSource, SegmentationSource
from cvserve.data.splits import SplitFractions

__all__ = [
    "VOID",
    "AnnotatedImage",
    "AnnotatedSplit",
    "Augmentation",
    "BadImage",
    "CaptionPipeline",
    "CaptionSource",
    "CaptionedImage",
    "CaptionedSplit",
    "Dataset",
    "DetectionPipeline",
    "DetectionSource",
    "ImageFolder",
    "ImagePipeline",
    "LabelledImage",
    "MaskedSplit",
    "Objects",
    "Sample",
    "Scene",
    "Scenes",
    "SegmentationPipeline",
    "SegmentationSource",
    "Split",
    "SplitFractions",
    "all_captions",
    "augment",
    "image_dataset",
    "open_dataset",
    "same_data",
    "verify",
    "write_captions",
    "write_coco",
    "write_image_folder",
    "write_mask_folder",
]
