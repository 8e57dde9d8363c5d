"""Semantic segmentation networks: each is a module that registers itself. What they are made of: see `segmenter`."""
