"""Settings of decoding that make sense, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvserve.artifact import Decoding
from cvserve.artifact.decoding import length_penalty


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beam_width": 4}, "beam_width is a setting of beam, not of greedy"),
        ({"method": "beam", "beam_width": 2, "seed": 3}, "seed is a setting of sampling, not of beam"),
        ({"method": "beam", "beam_width": 2, "sentences": 3}, "gives at most 2 sentences here, not 3"),
        ({"sentences": 2}, "greedy gives at most 1 sentences here, not 2"),
        ({"method": "sampling", "temperature": 0}, "greater than 0"),
        ({"method": "beam", "length_penalty": -1}, "greater than or equal to 0"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decoding(**values)


def test_describe() -> None:
    assert Decoding().describe() == "greedy"
    beam = Decoding(method="beam", beam_width=4, length_penalty=0.6, sentences=2)
    assert beam.describe() == "beam, beam_width 4, length_penalty 0.6, sentences 2"


def test_the_length_penalty_is_that_of_the_paper() -> None:
    """Wu et al. 2016, equation 14: (5 + |Y|) ** a / (5 + 1) ** a."""
    assert length_penalty(1.0, 0.6) == 1.0
    assert length_penalty(13.0, 1.0) == 3.0
    assert length_penalty(19.0, 0.5) == 2.0
