"""Defines the base of all parts of the manifest."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Is the base of all specs: unknown keys are errors, instances never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
