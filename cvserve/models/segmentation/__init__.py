"""Holds the semantic segmentation networks: each is a module that registers itself. See `segmenter` for their parts."""
