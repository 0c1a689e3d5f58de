"""Arms are told apart by their keys, in runs and for people."""

import pytest

from bat.workflow import arms
from bat.workflow.arms import ArmKey

MLM = ArmKey("base", "mlm", 1500, 9, 3)
OTHER = MLM._replace(objective="other")
FACTORY = ArmKey("base", "factory", 0, 9, 3)
RIDGE = arms.baseline("base", 9, 3, "ridge")


@pytest.mark.parametrize(
    ("key", "run", "label"),
    [
        (FACTORY, "documents=0 seed=3", "factory"),
        (MLM, "documents=1500 seed=3", "tuned on 1,500"),
        (OTHER, "objective=other documents=1500 seed=3", "tuned on 1,500 (other)"),
        (FACTORY._replace(predictor="stack"), "stack documents=0 seed=3", "words + factory"),
        (
            OTHER._replace(predictor="stack"),
            "stack objective=other documents=1500 seed=3",
            "words + tuned on 1,500 (other)",
        ),
        (RIDGE, "baseline=ridge", "TF-IDF + ridge"),
    ],
)
def test_an_arm_has_a_name_for_its_run_and_one_for_people(key, run, label):
    assert (arms.run_name(key), arms.label(key)) == (run, label)
    assert arms.label(key.line) == label


def test_a_line_is_one_arm_over_its_seeds():
    assert MLM.line == MLM._replace(seed=7).line != OTHER.line
    assert [key.is_baseline for key in (MLM, MLM._replace(predictor="stack"), RIDGE)] == [
        False,
        False,
        True,
    ]


def test_stacks_are_made_for_sizes_that_are_named_beforehand():
    visited = [0, 10, 20, 30]
    assert arms.stacked_sizes("auto", visited) == [0, 30]
    assert arms.stacked_sizes("auto", [0]) == [0]
    assert arms.stacked_sizes("auto", [10, 20]) == [20]
    assert arms.stacked_sizes("all", visited) == visited
    assert arms.stacked_sizes("none", visited) == []
