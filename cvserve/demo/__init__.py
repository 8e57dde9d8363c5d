"""The main job on generated images: train, export, serve, ask, predict a folder, and compare all the answers."""

from cvserve.demo.journey import TASKS, run_demo
from cvserve.demo.task import DemoTask

__all__ = ["TASKS", "DemoTask", "run_demo"]
