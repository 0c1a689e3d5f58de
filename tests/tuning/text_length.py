"""A toy objective, as one file: the encoder learns to tell how many characters a text has."""

import copy
import dataclasses

import torch

from bat.models import encoder
from bat.tuning.objective import Group, Laid, Objective, Opened, Schedule
from bat.tuning.objectives import supervised

TEXTS_A_STEP = 10


@dataclasses.dataclass(frozen=True)
class Recipe:
    learning_rate: float = 2e-3
    precision: str = "fp32"


def lay_out(opened, examples, recipe):
    ids = encoder.tokenise(opened, list(examples.texts[: examples.sizes[-1]]))
    lengths = [len(text) / 10 for text in examples.texts]
    steps = [(0, at, at + TEXTS_A_STEP) for at in range(0, examples.sizes[-1], TEXTS_A_STEP)]
    ends = tuple(size // TEXTS_A_STEP for size in examples.sizes)
    leaves = tuple(end * 4 // 5 for end in ends)
    tokens = tuple(sum(map(len, ids[:size])) for size in examples.sizes)
    return Laid((ids, lengths), Schedule(steps, leaves, ends, 2), tokens, 1, TEXTS_A_STEP)


def open_model(base, laid, recipe):
    opened = dataclasses.replace(base, model=copy.deepcopy(base.model))
    head = torch.nn.utils.skip_init(torch.nn.Linear, base.dimension, 1)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    return Opened(supervised.WithHead(opened, head).eval(), supervised.squared_error)


def batch(rows, made):
    return [ids for ids, _ in made], torch.tensor([length for _, length in made])


OBJECTIVE = Objective(
    label="text length",
    recipe=None,
    lay_out=lay_out,
    open_model=open_model,
    example=lambda rows, row, number: (rows[0][row], rows[1][row]),
    batch=batch,
    groups=lambda model, recipe: [Group(list(model.parameters()), recipe.learning_rate)],
    put_back=lambda model, base, recipe: copy.deepcopy(model.opened.model),
)
