"""ModelServerConfig files: their meaning, and every documented mistake with TensorFlow Serving's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvserve.errors import CvserveError, InvalidInput, NotFound, Unimplemented
from cvserve.serving.core.settings import ModelConfig, ModelSettings
from cvserve.serving.core.version_policy import All, Latest, Specific
from cvserve.serving.protocols.tensorflow_serving.model_server.model_configs import model_configs
from cvserve.serving.protocols.tensorflow_serving.model_server.text_proto import read_text_proto

proto = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")

# As TensorFlow Serving's own test files are written: colons before braces, commas between fields.
TWO_MODELS = """
model_config_list: {
  config: {
    name: "half_plus_two",
    base_path: "/models/two",
    model_platform: "tensorflow"
  },
  config {
    name: 'half_plus_three'
    base_path: "file:///models/three"
    model_platform: "tensorflow"
  }
}
"""


def parsed(text: str, tmp_path: Path) -> list[ModelConfig]:
    path = tmp_path / "models.config"
    path.write_text(text)
    return model_configs(read_text_proto(path, proto.ModelServerConfig))


def one(fields: str) -> str:
    return f'model_config_list {{ config {{ name: "m" base_path: "/m" model_platform: "tensorflow" {fields} }} }}'


def test_two_models(tmp_path: Path) -> None:
    assert parsed(TWO_MODELS, tmp_path) == [
        ModelConfig("half_plus_two", Path("/models/two")),
        ModelConfig("half_plus_three", Path("/models/three")),
    ]


def test_each_model_has_the_settings_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(TWO_MODELS)
    config = read_text_proto(tmp_path / "c", proto.ModelServerConfig)
    found = model_configs(config, lambda name: ModelSettings(instances=len(name)))
    assert [each.settings.instances for each in found] == [13, 15]


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ("", Latest(1)),
        ("model_version_policy { }", Latest(1)),
        ("model_version_policy { latest { } }", Latest(1)),
        ("model_version_policy { latest { num_versions: 0 } }", Latest(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Latest(3)),
        ("model_version_policy: { all: {} }", All()),
        ("model_version_policy { specific { versions: 42 versions: 43 } }", Specific((42, 43))),
        ("model_version_policy { specific { versions: [42, 43] } }", Specific((42, 43))),
    ],
)
def test_policies(fields: str, policy: object, tmp_path: Path) -> None:
    [model] = parsed(one(fields), tmp_path)
    assert model.policy == policy


def test_labels_and_the_deprecated_field_for_the_platform(tmp_path: Path) -> None:
    text = one('version_labels { key: "stable" value: 42 } version_labels { key: "canary" value: 43 }')
    [model] = parsed(text, tmp_path)
    assert model.labels == {"stable": 42, "canary": 43}
    text = 'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }'
    assert parsed(text, tmp_path) == [ModelConfig("m", Path("/m"))]


def test_an_empty_file_has_no_models(tmp_path: Path) -> None:
    assert parsed("", tmp_path) == []
    assert parsed("model_config_list { }  # none yet\n", tmp_path) == []


BAD: list[tuple[str, type[CvserveError], str]] = [
    (
        "improperly formatted file",
        InvalidInput,
        "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1 : "
        'Message type "tensorflow.serving.ModelServerConfig" has no field named "improperly".',
    ),
    ("model_config_list {", InvalidInput, "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:"),
    (one("name: 3"), InvalidInput, "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:"),
    (
        one("model_version_policy { latest {} all {} }"),
        InvalidInput,
        "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:",
    ),
    (
        'model_config_list { config { name: "m" base_path: "/a" model_platform: "tensorflow" } '
        'config { name: "m" base_path: "/b" model_platform: "tensorflow" } }',
        InvalidInput,
        "Illegal to list model m multiple times in config list",
    ),
    (
        'model_config_list { config { name: "m" base_path: "models/m" model_platform: "tensorflow" } }',
        InvalidInput,
        "Expected model m to have an absolute path or URI; got base_path()=models/m",
    ),
    (
        'model_config_list { config { name: "m" model_platform: "tensorflow" } }',
        InvalidInput,
        "Expected model m to have an absolute path or URI; got base_path()=",
    ),
    (
        'model_config_list { config { name: "m" base_path: "s3://bucket/m" model_platform: "tensorflow" } }',
        InvalidInput,
        "model m has base_path=s3://bucket/m, which is not on this machine",
    ),
    (
        'model_config_list { config { name: "m" base_path: "http://[m" model_platform: "tensorflow" } }',
        InvalidInput,
        "model m has base_path=http://[m, which is not on this machine",
    ),
    (
        'model_config_list { config { name: "m" base_path: "/m\\000" model_platform: "tensorflow" } }',
        InvalidInput,
        "which cannot be a path",
    ),
    (
        'model_config_list { config { name: "m" base_path: "/m" } }',
        InvalidInput,
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
        "model name is m",
    ),
    (
        one("model_type: TENSORFLOW"),
        InvalidInput,
        "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
        "model name is m",
    ),
    (
        'model_config_list { config { name: "m" base_path: "/m" model_type: OTHER } }',
        InvalidInput,
        "ModelServerConfig::model_type choice 2 not supported.",
    ),
    (
        'model_config_list { config { name: "m" base_path: "/m" model_platform: "caffe" } }',
        InvalidInput,
        "Model m requests unsupported platform caffe",
    ),
    (
        'model_config_list { config { base_path: "/m" model_platform: "tensorflow" } }',
        InvalidInput,
        "the model at '/m' has no name",
    ),
    ("custom_model_config { }", Unimplemented, "ModelServer does not yet support custom model config."),
]


@pytest.mark.parametrize(("text", "kind", "sentence"), BAD, ids=[str(index) for index in range(len(BAD))])
def test_a_bad_file(text: str, kind: type[CvserveError], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(kind) as caught:
        parsed(text, tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing; No such file or directory"):
        read_text_proto(tmp_path / "nothing", proto.ModelServerConfig)
    with pytest.raises(InvalidInput, match="Is a directory"):
        read_text_proto(tmp_path, proto.ModelServerConfig)
    (tmp_path / "latin").write_bytes(b'model_config_list { config { name: "\xe9" } }')
    with pytest.raises(InvalidInput, match=r"ModelServerConfig: byte 36 is not UTF-8 \(Invalid protobuf file: '/"):
        read_text_proto(tmp_path / "latin", proto.ModelServerConfig)
