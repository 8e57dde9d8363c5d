"""Classifiers. Every backbone is one, see `cvserve.models.backbones`; networks that are nothing else stand here."""
