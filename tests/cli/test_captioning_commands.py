"""`cvserve inspect` with a captioning model, and the decoding flags of `cvserve export`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from tiny_captioner import publish_captioner

from cvserve.artifact import CaptioningParity, Decoding, StepGraphs
from cvserve.artifact.store import publish
from cvserve.cli.decoding import add_decoding, decoding_of
from cvserve.errors import InvalidInput


def parsed(*words: str) -> Decoding | None:
    parser = argparse.ArgumentParser()
    add_decoding(parser)
    return decoding_of(parser.parse_args(words))


def test_the_flags_give_a_decoding() -> None:
    assert parsed() is None
    assert parsed("--beam", "4", "--length-penalty", "0.7", "--no-repeat-ngram", "3", "--sentences", "2") == Decoding(
        method="beam", beam_width=4, length_penalty=0.7, no_repeat_ngram=3, sentences=2
    )
    assert parsed("--sample", "--temperature", "0.8", "--top-k", "20", "--seed", "1") == Decoding(
        method="sampling", temperature=0.8, top_k=20, seed=1
    )
    assert parsed("--no-repeat-ngram", "2") == Decoding(no_repeat_ngram=2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--length-penalty", "0.7"), "the flags of decoding: length_penalty is a setting of beam, not of greedy"),
        (("--beam", "2", "--sentences", "3"), "beam gives at most 2 sentences here, not 3"),
        (("--sample", "--temperature", "0"), "temperature = 0.0 cannot be used: input should be greater than 0"),
    ],
)
def test_flags_that_exclude_each_other_are_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        parsed(*words)


def test_inspect(cvserve, tmp_path: Path) -> None:
    plain = publish_captioner(tmp_path / "teller")
    [graph] = plain.manifest.graphs
    parity = CaptioningParity(images=9, max_abs_difference=1e-6, agreement=1.0, limit=1e-4, agreement_limit=1.0)

    def with_steps(directory: Path, version: int):
        (directory / "model.onnx").write_bytes((plain.directory / "model.onnx").read_bytes())
        steps = StepGraphs(encode_file=graph.files[0], step_file=graph.files[0], parity=parity)
        decoding = Decoding(method="beam", beam_width=4)
        return plain.manifest.model_copy(
            update={
                "version": version,
                "graphs": (graph.model_copy(update={"steps": steps}),),
                "postproc": plain.manifest.postproc.model_copy(update={"decoding": decoding}),
            }
        )

    publish(tmp_path / "teller", with_steps)
    done = cvserve("inspect", tmp_path / "teller")
    assert done.returncode == 0, done.stderr
    for words in ("14 words, sentences of up to 8", "beam, beam_width 4", "signatures encode and step", "same on 9"):
        assert words in done.stdout
