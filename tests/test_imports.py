"""What importing costs, and which package may import which."""

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

# The layers of cvserve, the lowest first. A package imports from layers below its own, or from itself.
LAYERS = (
    {"errors", "parallel"},
    {"tasks"},
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

# The layers inside a package: its folders, and the files that lie directly in it.
INNER_LAYERS: dict[str, tuple[set[str], ...]] = {
    "artifact": (
        {"base", "schema1"},
        {"boxes", "decoding", "task_spec", "vocabulary"},
        {"graphs", "specs", "tasks"},
        {"manifest"},
        {"store"},
    ),
    "preproc": ({"exif", "geometry", "regions", "source", "tensors", "unsupported"}, {"header"}, {"decode"}),
    "text": ({"merging", "ptb"}, {"pieces"}, {"learning", "tokenizer"}),
    "postproc": (
        {
            "activations",
            "contract",
            "mask_formats",
            "masks",
            "object_masks",
            "polygons",
            "quantized",
            "text",
        },
        {"boxes", "captioning_search", "encoded_masks", "pasting", "wrapping"},
        {"results"},
        {"attention", "decode", "drawing"},
        {"decoders"},
    ),
    "batch": (
        {"coco_numbers", "instances", "nameset", "sources"},
        {"annotate"},
        {"mask_files"},
        {"sinks"},
        {"predict"},
    ),
    "client": (
        {"failures", "health", "masks", "task_result"},
        {"channel", "messages", "tasks"},
        {"many", "streaming"},
        {"asynchronous", "client"},
    ),
    "evaluation": (
        {"coco_format", "matching", "task_metric"},
        {"coco_scores", "misses", "plots", "worst_masks"},
        {"averaging", "captions", "classification", "detection", "segmentation"},
        {"metrics"},
        {"predictors"},
        {"scoring"},
    ),
    "training": (
        {"captioning_config", "optimizer_config", "segmentation_config"},
        {"class_weights", "history", "schedule", "step", "task"},
        {"checkpoints", "tasks"},
        {"config"},
        {"trainer"},
    ),
    "export": (
        {
            "checks",
            "graph_preproc",
            "import_spec",
            "inlining",
            "network",
            "onnx_file",
            "tflite",
            "tflite_child",
        },
        {"contract", "detect_signature", "onnx", "saved_model", "step_graphs"},
        {"comparison", "targets", "warmup"},
        {"parity", "task_export", "writing"},
        {"encoded", "report", "tasks"},
        {"exporter"},
        {"from_run", "import_keras"},
        {"importer"},
    ),
    "runtimes": (
        {"base", "device", "instances", "onnx_errors", "quiet", "remembering", "unrestored"},
        {"checks", "cuda", "fixed_batch", "tensorflow_gpus"},
        {"litert", "onnx", "tensorflow"},
        {"opening", "session"},
        {"choose"},
        {"choose_apart"},
    ),
    "bench": (
        {"images", "processes", "stages"},
        {"baseline", "clients"},
        {"results"},
        {"measuring", "report"},
        {"chart", "tuning"},
    ),
    "models": (
        {"options", "registry", "scan", "tasks"},
        {"layers"},
        {"classification"},
        {"backbones"},
        {"captioning", "detection", "segmentation"},
        {"catalogue"},
    ),
    "serving": (
        {"errors", "event_loop"},
        {"core"},
        {"observability", "security", "status_lines"},
        {"settings"},
        {"transport"},
        {"protocols"},
        {"server"},
        {"process"},
        {"model_server"},
    ),
    "serving.core": (
        {
            "background",
            "loop_callbacks",
            "memory",
            "observer",
            "signatures",
            "thread_names",
            "version_policy",
        },
        {"batching"},
        {"decode_pool", "loaded_model", "measuring", "settings"},
        {"replicas", "repository", "servable"},
        {"choosing", "desired_state", "manager", "without_manifest"},
        {"loading", "reconciler"},
        {"engine"},
    ),
    "data": (
        {"instance_masks", "masks", "splits"},
        {"objects"},
        {"source"},
        {"problems"},
        {"readers", "augment", "scenes"},
        {"pipelines"},
        {"dataset"},
    ),
}

KNOWN_CIRCLES: tuple[tuple[str, ...], ...] = ()

# Packages that use a model never import those that make one.
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


def package_of(path: Path) -> str:
    """Returns "batch" for cvserve/batch/sinks.py, and "errors" for cvserve/errors.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def nodes_of(path: Path) -> Iterator[ast.AST]:
    """Yields every node of a module but those below `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    yield from (node for node in ast.walk(tree) if id(node) not in for_types)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Returns the packages that a module imports, anywhere in it, with the line; not those for type checking."""
    for node in nodes_of(path):
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


def test_every_package_has_a_layer() -> None:
    known = set().union(*LAYERS)
    assert {package_of(path) for path in modules()} - {"__main__"} == known
    assert sum(map(len, LAYERS)) == len(known)


def test_packages_import_downward_only() -> None:
    layer_of = {package: index for index, packages in enumerate(LAYERS) for package in packages}
    wrong = []
    for path in modules():
        own = package_of(path)
        if own == "__main__":
            continue
        for line, package in imports_of(path):
            if package != own and layer_of[package] >= layer_of[own]:
                wrong.append(f"{path.relative_to(ROOT.parent)}:{line}: {own} imports {package}")
    assert not wrong, "\n".join(wrong)


def inner_name_of(module: str, package: str) -> str:
    """In "serving", cvserve.serving.core.manager: core; cvserve.serving.server: server."""
    return module.removeprefix(f"cvserve.{package}.").partition(".")[0]


@pytest.mark.parametrize("package", INNER_LAYERS)
def test_inside_a_package_imports_go_downward_only(package: str) -> None:
    """Folders and files of a package import from lower layers; those of one layer do not import each other."""
    layer_of = {name: index for index, names in enumerate(INNER_LAYERS[package]) for name in names}
    graph = {name: found for name, found in module_graph().items() if name.startswith(f"cvserve.{package}.")}
    assert {inner_name_of(module, package) for module in graph} == set(layer_of)
    wrong = [
        f"{module} imports {other}"
        for module, found in graph.items()
        for other in found
        if other.startswith(f"cvserve.{package}.")
        and inner_name_of(other, package) != inner_name_of(module, package)
        and layer_of[inner_name_of(other, package)] >= layer_of[inner_name_of(module, package)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_protocol_imports_another() -> None:
    package = "cvserve.serving.protocols."
    graph = {name: found for name, found in module_graph().items() if name.startswith(package)}
    protocol_of = {name: name.removeprefix(package).partition(".")[0] for name in graph}
    assert {"tensorflow_serving", "vision"} <= set(protocol_of.values())
    wrong = [
        f"{module} imports {other}"
        for module, found in graph.items()
        for other in found
        if other.startswith(package) and protocol_of[other] != protocol_of[module]
    ]
    assert not wrong, "\n".join(wrong)


def module_graph() -> dict[str, set[str]]:
    """Returns the modules of cvserve that each module imports when it is imported itself or later, but for types."""
    names = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules()
    }
    return {name: {other for other in targets_of(path, names) if other != name} for name, path in names.items()}


def targets_of(path: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in inner if name in known)
            if any(name not in known for name in inner):
                yield node.module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = module_graph()
    circles = [sorted(found) for found in strongly_connected(graph) if len(found) > 1]
    assert not [found for found in circles if not any(set(found) <= set(known) for known in KNOWN_CIRCLES)], circles


def strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """Returns the groups of modules that reach each other (Tarjan's algorithm, on a stack of its own)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            groups.append(set(stack[at:]))
            del stack[at:]

    for name in graph:
        if name not in index:
            visit(name)
    return groups


def test_users_of_a_model_never_import_its_makers() -> None:
    found = [
        f"{path.relative_to(ROOT.parent)}:{line}: {package}"
        for path in modules()
        if package_of(path) in USERS
        for line, package in imports_of(path)
        if package in MAKERS
    ]
    assert not found, "\n".join(found)
