"""What importing costs, and which room may import which."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvserve.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1] / "cvserve"

HEAVY = {"tensorflow", "keras", "onnxruntime", "onnx", "tf2onnx", "ai_edge_litert", "matplotlib", "tensorflow_serving"}

# The floors of the house, from the ground up. A room imports from floors below its own, or from its own room.
FLOORS = (
    {"errors", "parallel"},
    {"extras", "settings", "console"},
    {"artifact", "protos"},
    {"preproc", "text"},
    {"postproc", "runtimes"},
    {"pipeline", "models", "data", "client"},
    {"stepwise"},
    {"runs"},
    {"serving", "batch", "evaluation"},
    {"training", "bench"},
    {"export"},
    {"demo"},
    {"cli"},
)

# Whoever uses a model never imports what makes one.
USERS = (
    "errors",
    "extras",
    "console",
    "artifact",
    "preproc",
    "text",
    "postproc",
    "runtimes",
    "pipeline",
    "stepwise",
    "serving",
    "batch",
    "client",
    "bench",
)
MAKERS = {"models", "data", "training", "export", "evaluation"}


def imported(code: str) -> set[str]:
    """The top-level modules that are loaded after `code` ran in a fresh interpreter."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import cvserve",
        "import cvserve.client; cvserve.Client",
        "import cvserve; cvserve.Pipeline; import cvserve.batch, cvserve.runtimes, cvserve.preproc, cvserve.postproc",
        "import cvserve.runs, cvserve.training, cvserve.evaluation, cvserve.models, cvserve.data",
    ],
)
def test_importing_loads_no_framework(code: str) -> None:
    assert imported(code) & HEAVY == set()


def test_the_client_loads_no_opencv() -> None:
    assert "cv2" not in imported("import cvserve; cvserve.Client; cvserve.AsyncClient")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
    ],
    ids=" ".join,
)
def test_help_loads_no_framework(words: list[str]) -> None:
    code = f"""
import contextlib, io
from cvserve.cli.main import main
text = io.StringIO()
with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
    main({words!r})
assert "cvserve" in text.getvalue()
"""
    loaded = imported(code)
    assert loaded & HEAVY == set()
    assert "cv2" not in loaded
    assert "grpc" not in loaded


def test_the_top_level_help_loads_next_to_nothing() -> None:
    code = "from cvserve.cli.main import main\ntry: main(['--version'])\nexcept SystemExit: pass"
    assert imported(code) & {"numpy", "pydantic", "rich", "yaml"} == set()


def room_of(path: Path) -> str:
    """cvserve/batch/sinks.py: batch; cvserve/errors.py: errors."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """The rooms of cvserve that a module imports, anywhere in it, with the line; not those for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module is not None
            inner = node.module == "cvserve"
            names = [f"cvserve.{alias.name}" for alias in node.names] if inner else [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "cvserve" and len(parts) > 1 and parts[1] != "__version__":
                yield node.lineno, parts[1]


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py" and "_pb2" not in path.name]


def test_every_room_has_a_floor() -> None:
    known = set().union(*FLOORS)
    assert {room_of(path) for path in modules()} - {"__main__"} == known
    assert sum(map(len, FLOORS)) == len(known)


def test_rooms_import_downward_only() -> None:
    floor_of = {room: index for index, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for path in modules():
        own = room_of(path)
        if own == "__main__":
            continue
        for line, room in imports_of(path):
            if room != own and floor_of[room] >= floor_of[own]:
                wrong.append(f"{path.relative_to(ROOT.parent)}:{line}: {own} imports {room}")
    assert not wrong, "\n".join(wrong)


def test_users_of_a_model_never_import_its_makers() -> None:
    found = [
        f"{path.relative_to(ROOT.parent)}:{line}: {room}"
        for path in modules()
        if room_of(path) in USERS
        for line, room in imports_of(path)
        if room in MAKERS
    ]
    assert not found, "\n".join(found)
