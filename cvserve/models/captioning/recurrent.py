"""Implements what recurrent decoders share: embedding, cell, and the steps of a sentence."""

from __future__ import annotations

from typing import Any, Literal, get_args

import tensorflow as tf
from keras import layers

from cvserve.models.captioning.decoder import CaptionDecoder, Step, TeacherForced, Tensors
from cvserve.models.options import check_choice, check_fraction, check_whole

Cell = Literal["rnn", "gru", "lstm"]


def make_cell(kind: Cell, units: int, name: str = "cell") -> layers.Layer:
    """Makes the step of a recurrent layer, float32.

    "rnn": h' = tanh(W [x; h]). "gru": Cho et al. 2014, arXiv 1406.1078, the reset gate before the product. "lstm":
    Hochreiter & Schmidhuber 1997, with a forget gate that begins open.
    """
    if kind == "rnn":
        return layers.SimpleRNNCell(units, dtype="float32", name=name)
    if kind == "gru":
        return layers.GRUCell(units, reset_after=False, dtype="float32", name=name)
    return layers.LSTMCell(units, dtype="float32", name=name)


class RecurrentDecoder(CaptionDecoder):
    """Decodes with one recurrent cell. Sub-classes define the inputs of the cell and of the scores.

    Args:
        cell: "rnn", "gru" or "lstm". units: of the cell. embedding: size of the words' vectors.
        dropout: of the words' vectors and before the scores; never between steps.
    """

    def __init__(
        self,
        num_tokens: int,
        length: int,
        *,
        cell: Cell = "lstm",
        units: int = 256,
        embedding: int = 128,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_tokens, length, **kwargs)
        self.kind, self.units, self.embedding_size, self.dropout = cell, units, embedding, dropout
        self.names = ("hidden", "cell") if cell == "lstm" else ("hidden",)
        self.embedding = layers.Embedding(num_tokens, embedding, dtype="float32", name="embedding")
        self.cell = make_cell(cell, units)
        self.embedding_dropout = layers.Dropout(dropout, dtype="float32", name="embedding_dropout")
        self.output_dropout = layers.Dropout(dropout, dtype="float32", name="output_dropout")
        self.scores = layers.Dense(num_tokens, dtype="float32", name="scores")

    def advance(self, words: tf.Tensor, memory: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Runs one step of the cell.

        Args:
            words: float32 [B, E], of the token that is there.

        Returns:
            The next state, and further values by name, each [B, ...]; of those that attend "attention" [B, L].
        """
        raise NotImplementedError

    def readout(self, words: tf.Tensor, hidden: tf.Tensor, extras: Tensors) -> tf.Tensor:
        """Returns float32 [..., D] for the scores. Arguments: [..., E], [..., H], and as of `advance`."""
        raise NotImplementedError

    def step(self, tokens: tf.Tensor, position: tf.Tensor | int, memory: Tensors, state: Tensors) -> Step:
        """Computes the scores of the next token, see `CaptionDecoder`."""
        words = self.embedding(tokens)
        state, extras = self.advance(words, memory, state)
        logits = self.scores(self.readout(words, state["hidden"], extras))
        return Step(logits, state, extras.get("attention"))

    def teacher_forced(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> TeacherForced:
        """Computes the scores of whole sentences, see `CaptionDecoder`."""
        memory = self.memory(features)
        state = self.initial_state(memory)
        words = self.embedding_dropout(self.embedding(tokens), training=training)
        # Unrolled: sentences are short, and a loop's bookkeeping costs more than its steps.
        states, everything = [], []
        for word in tf.unstack(words, axis=1):
            state, extras = self.advance(word, memory, state)
            states.append(state["hidden"])
            everything.append(extras)
        together = {name: tf.stack([extras[name] for extras in everything], axis=1) for name in everything[0]}
        read = self.readout(words, tf.stack(states, axis=1), together)
        logits = self.scores(self.output_dropout(read, training=training))
        return TeacherForced(logits, together.get("attention"))

    def run_cell(self, inputs: tf.Tensor, state: Tensors) -> Tensors:
        """Returns the cell's next state. inputs: float32 [B, I]."""
        states = self.cell(inputs, [state[name] for name in self.names])[1]
        return dict(zip(self.names, states, strict=True))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {"cell": self.kind, "units": self.units, "embedding": self.embedding_size, "dropout": self.dropout}
        return {**super().get_config(), **own}


def check_recurrent(model: str, *, cell: Any, units: Any, embedding: Any, dropout: Any) -> None:
    """Checks the options of a `RecurrentDecoder`; raises InvalidInput."""
    check_choice(model, cell=(cell, get_args(Cell)))
    check_whole(model, units=(units, 2), embedding=(embedding, 2))
    check_fraction(model, dropout=dropout)
