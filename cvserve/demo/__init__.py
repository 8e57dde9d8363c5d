"""The main job on generated pictures: train, export, serve, ask, predict a folder, and compare all the answers."""

from cvserve.demo.classification import run_demo

__all__ = ["run_demo"]
