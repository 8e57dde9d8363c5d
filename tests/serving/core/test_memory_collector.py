"""The garbage collector skips the objects of libraries, also if a model imports TensorFlow later."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from half_plus_two import write_tf2

from cvserve.serving.core import memory

SCRIPT = """
import asyncio, gc, json, sys
from cvserve.serving import Server, ServerSettings

async def main():
    async with Server(sys.argv[1], ServerSettings(host="127.0.0.1", port=0)):
        print(json.dumps([gc.get_freeze_count(), len(gc.get_objects()), "tensorflow" in sys.modules]))

asyncio.run(main())
"""


def test_the_collector_does_not_walk_through_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    write_tf2(tmp_path / "half" / "1")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    frozen, walked, loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded
    assert frozen > 300_000
    assert walked < 0.1 * frozen


def test_objects_are_frozen_again_only_after_a_library_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    modules = dict.fromkeys(map(str, range(500)))
    monkeypatch.setattr(memory.sys, "modules", modules)
    monkeypatch.setattr(memory.gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(memory.gc, "freeze", lambda: done.append("freeze"))
    freeze = memory.CollectorFreeze()
    freeze.update()
    freeze.update()
    assert done == ["collect", "freeze"]
    modules.update(dict.fromkeys(map(str, range(500, 700))))
    freeze.collect = False
    freeze.update()
    freeze.update()
    assert done == ["collect", "freeze", "freeze"]
    monkeypatch.undo()
    assert gc.isenabled()
