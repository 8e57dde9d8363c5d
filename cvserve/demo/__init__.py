"""Runs the whole path on generated images: train, export, serve, ask, predict a folder, compare all answers."""

from cvserve.demo.journey import run_demo
from cvserve.demo.task import DEMO_TASKS, DemoTask, demo_tasks

__all__ = ["DEMO_TASKS", "DemoTask", "demo_tasks", "run_demo"]
