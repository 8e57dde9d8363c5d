"""Labelled pictures: folders and generated scenes, augmented and batched. TensorFlow is imported by `epoch` alone."""

from cvserve.data.annotated import AnnotatedPicture, AnnotatedSplit
from cvserve.data.augment import Augmentation, augment
from cvserve.data.captioned import CaptionedPicture, CaptionedSplit
from cvserve.data.captioning import CaptionPipeline, all_captions
from cvserve.data.captions import CaptionSource
from cvserve.data.dataset import Dataset, open_dataset, same_data
from cvserve.data.detection import DetectionPipeline
from cvserve.data.folder import ImageFolder, Sample, Split
from cvserve.data.masked import LabelledPicture, MaskedSplit
from cvserve.data.masks import VOID, SegmentationSource
from cvserve.data.objects import DetectionSource, Objects
from cvserve.data.pipeline import ImagePipeline, image_dataset
from cvserve.data.problems import BadPicture, verify
from cvserve.data.scenes import Scene, Scenes, write_captions, write_coco, write_image_folder, write_mask_folder
from cvserve.data.segmentation import SegmentationPipeline
from cvserve.data.splitting import Shares

__all__ = [
    "VOID",
    "AnnotatedPicture",
    "AnnotatedSplit",
    "Augmentation",
    "BadPicture",
    "CaptionPipeline",
    "CaptionSource",
    "CaptionedPicture",
    "CaptionedSplit",
    "Dataset",
    "DetectionPipeline",
    "DetectionSource",
    "ImageFolder",
    "ImagePipeline",
    "LabelledPicture",
    "MaskedSplit",
    "Objects",
    "Sample",
    "Scene",
    "Scenes",
    "SegmentationPipeline",
    "SegmentationSource",
    "Shares",
    "Split",
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
