"""Labelled pictures: folders and generated scenes, augmented and batched. TensorFlow is imported by `epoch` alone."""

from cvserve.data.augment import Augmentation, augment
from cvserve.data.dataset import Dataset, open_dataset, same_data
from cvserve.data.folder import ImageFolder, Sample, Split
from cvserve.data.pipeline import ImagePipeline, image_dataset
from cvserve.data.problems import BadPicture, verify
from cvserve.data.scenes import Scene, Scenes, write_image_folder
from cvserve.data.splitting import Shares

__all__ = [
    "Augmentation",
    "BadPicture",
    "Dataset",
    "ImageFolder",
    "ImagePipeline",
    "Sample",
    "Scene",
    "Scenes",
    "Shares",
    "Split",
    "augment",
    "image_dataset",
    "open_dataset",
    "same_data",
    "verify",
    "write_image_folder",
]
