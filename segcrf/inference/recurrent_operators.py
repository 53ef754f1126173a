"""LSTM and GRU layers as operators, so that an exported program runs them at full speed for any number of frames.

PyTorch traces its own layers as a Python loop over frames, for one number of frames. In an exported copy of a model,
:func:`replace_recurrent_layers` puts modules with these operators in their place. They give the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segcrf._validation import InputError

__all__ = ["replace_recurrent_layers"]

_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def replace_recurrent_layers(module: nn.Module) -> nn.Module:
    """Replace every LSTM and GRU inside a module, in place, and return the module.

    Raises:
        InputError: a layer with projections, which has no operator.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.LSTM | nn.GRU):
            _check_no_projection(child)
            setattr(module, name, _RecurrentLayers(child))
        else:
            replace_recurrent_layers(child)
    return module


class _RecurrentLayers(nn.Module):
    """Takes and returns what the replaced LSTM or GRU does, in evaluation mode."""

    def __init__(self, replaced: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.layers, self.directions = replaced.num_layers, 1 + int(replaced.bidirectional)
        self.hidden, self.batch_first = replaced.hidden_size, replaced.batch_first
        self.states = 2 if isinstance(replaced, nn.LSTM) else 1
        for i in range(self.layers * self.directions):
            suffix = f"_l{i // self.directions}" + ("_reverse" if i % self.directions else "")
            weight = getattr(replaced, f"weight_ih{suffix}")
            for name in _WEIGHTS:
                none = weight.new_zeros(len(weight))  # of a layer without biases
                self.register_buffer(f"{name}_{i}", getattr(replaced, name + suffix, none).detach())

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x = x if self.batch_first else x.transpose(0, 1)
        operator = torch.ops.segcrf.lstm if self.states == 2 else torch.ops.segcrf.gru
        begun = [None] * self.states if state is None else [state] if self.states == 1 else state
        after: list[list[Tensor]] = [[] for _ in range(self.states)]
        zero = x.new_zeros(x.shape[0], self.hidden)
        for layer in range(self.layers):
            outputs: list[Tensor] = []
            for direction in range(self.directions):
                i = layer * self.directions + direction
                weights = [getattr(self, f"{name}_{i}") for name in _WEIGHTS]
                before = [zero if s is None else s[i] for s in begun]
                y, *last = operator(x.flip(1) if direction else x, *before, *weights)
                outputs.append(y.flip(1) if direction else y)
                for each, value in zip(after, last, strict=True):
                    each.append(value)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        states = tuple(torch.stack(each) for each in after)
        return x if self.batch_first else x.transpose(0, 1), states if self.states == 2 else states[0]


def _lstm(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, h, c, *weights = inputs
    y, h, c = torch.lstm(x, (h[None].contiguous(), c[None].contiguous()), weights, True, 1, 0.0, False, False, True)
    return y, h[0].clone(), c[0].clone()


def _gru(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    x, h, *weights = inputs
    y, h = torch.gru(x, h[None].contiguous(), weights, True, 1, 0.0, False, False, True)
    return y, h[0].clone()


def _fake(x: Tensor, h: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    states = len(rest) - 3
    return x.new_empty(x.shape[0], x.shape[1], h.shape[1]), *(torch.empty_like(h) for _ in range(states))


_LIBRARY = torch.library.Library("segcrf", "FRAGMENT")
_ARGUMENTS = ", ".join(f"Tensor {name}" for name in _WEIGHTS)
for _name, _schema, _operator in (
    ("lstm", f"(Tensor x, Tensor h, Tensor c, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)", _lstm),
    ("gru", f"(Tensor x, Tensor h, {_ARGUMENTS}) -> (Tensor, Tensor)", _gru),
):
    _LIBRARY.define(f"{_name}{_schema}", tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(_name, _operator, "CompositeExplicitAutograd")
    torch.library.register_fake(f"segcrf::{_name}", _fake, lib=_LIBRARY)


def _check_no_projection(layer: nn.LSTM | nn.GRU) -> None:
    """Raise for an LSTM that projects its output."""
    if layer.proj_size:
        got, expected = f"an encoder with an LSTM of proj_size={layer.proj_size}", "an LSTM without a projection"
        raise InputError("model", got, expected, "project its output by a linear layer")
