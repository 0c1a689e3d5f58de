"""Near repeats are found by a definition that a few lines of plain Python spell out."""

import math
import random
import re
from collections import Counter

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from bat.data import near_duplicates

VOCABULARY = [f"word{i}" for i in range(2000)]


def sentences(n, seed=0, n_words=40):
    draw = random.Random(seed)
    return [" ".join(draw.choices(VOCABULARY, k=n_words)) for _ in range(n)]


def changed(text, *places):
    words = text.split()
    for place in places:
        words[place] = f"changed{place}"
    return " ".join(words)


def replaced(text, share, draw):
    """Replace a share of a text's words by others of the vocabulary."""
    words = text.split()
    for place in draw.sample(range(len(words)), round(share * len(words))):
        words[place] = draw.choice(VOCABULARY)
    return " ".join(words)


def links(texts):
    return near_duplicates.links(texts, lambda done: None)


def pairs(texts):
    found = links(texts)
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))


def components(texts):
    found = links(texts)
    n = len(texts)
    matrix = sparse.coo_matrix((np.ones(len(found.left)), (found.left, found.right)), (n, n))
    return csgraph.connected_components(matrix, directed=False)[1]


def by_definition(texts):
    """All pairs that are near, with their likeness: no index, no bound, no chunk."""
    words = [set(re.findall(r"\w+", text.casefold())) for text in texts]
    holders = Counter(word for each in words for word in each)
    telling = {word: math.log((len(texts) + 1) / n) for word, n in holders.items()}
    weight = {word: math.sqrt(min(value, math.log(100))) for word, value in telling.items()}
    found = {}
    for j, other in enumerate(words):
        for i, one in enumerate(words[:j]):
            both = one & other
            alike = sum(map(weight.get, both)) / sum(map(weight.get, one | other))
            telling_enough = sum(map(telling.get, both)) >= 3 * math.log(len(texts) + 1)
            if one == other or (alike >= 0.66 and telling_enough):
                found[i, j] = alike
    return found


def test_exactly_the_pairs_of_the_definition_are_found(monkeypatch):
    monkeypatch.setattr(near_duplicates, "PAIRS_A_BATCH", 7)
    draw = random.Random(1)
    texts = sentences(150, seed=1)
    for text in texts[:140]:  # one to fifteen of 40 words changed
        texts.append(changed(text, *draw.sample(range(40), draw.randint(1, 15))))
    texts = [f"offered by a private seller: {text}" for text in texts]
    expected = by_definition(texts)
    assert 60 < len(expected) < 110  # some are near, some are not
    found = links(texts)
    likeness = dict(zip(zip(found.left, found.right, strict=True), found.likeness, strict=True))
    assert likeness == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_twins_with_a_tenth_of_the_words_replaced_are_found(share):
    draw = random.Random(0)
    texts = sentences(1000, n_words=30)
    twins = [replaced(text, share, draw) for text in texts]
    found = components(texts + twins)
    assert found[:1000].tolist() == found[1000:].tolist()
    assert len(set(found.tolist())) == 1000


@pytest.mark.parametrize("n_template", [17, 120])
def test_a_template_makes_no_two_texts_alike(n_template):
    (frame,) = sentences(1, seed=9, n_words=n_template)
    texts = [f"{frame} {text}" for text in sentences(400, n_words=12)]
    assert pairs(texts) == set()
    twin = changed(texts[7], n_template + 3)  # of what is its own, one word of twelve
    assert pairs([*texts, twin]) == {(7, 400)}


def test_a_template_of_some_texts_makes_no_two_of_them_alike():
    # Of 84 words that two of them have between them they share 60, which a third of all have.
    (frame,) = sentences(1, seed=9, n_words=60)
    own = sentences(600, n_words=12)
    texts = [f"{frame} {text}" for text in own[:200]] + own[200:]
    assert pairs(texts) == set()


def test_texts_of_few_facts_that_differ_in_one_are_different_things():
    facts = [
        f"{year} {make} in {colour}, {miles}k miles, {gearbox}, two owners from new"
        for year in range(1990, 2000)
        for make, gearbox in (("arrow coupe", "manual"), ("birch wagon", "automatic"))
        for colour in ("red", "green", "black")
        for miles in range(10, 100, 15)
    ]
    assert pairs(facts) == set()


def test_the_same_words_otherwise_written_are_a_repeat():
    texts = ["Blue mug", *sentences(100), "mug, BLUE!", "mug", "Red mug", "a 2.5-liter six"]
    assert pairs([*texts, "A “2.5-liter” Six…"]) == {(0, 101), (104, 105)}


def test_scripts_without_spaces():
    draw = random.Random(0)
    signs = [chr(0x4E00 + at) for at in range(1000)]
    texts = ["".join(draw.choices(signs, k=40)) for _ in range(100)]
    twin = texts[3][:18] + "赤い" + texts[3][20:]
    assert pairs([*texts, twin]) == {(3, 100)}


def test_the_order_of_the_texts_changes_nothing():
    draw = random.Random(2)
    texts = sentences(300, n_words=20)
    texts += [replaced(draw.choice(texts), draw.choice([0.1, 0.2]), draw) for _ in range(300)]
    texts += [changed(texts[0], *draw.sample(range(20), 2)) for _ in range(100)]
    texts = list(dict.fromkeys(texts))
    mixed = draw.sample(texts, len(texts))
    named = {frozenset((texts[i], texts[j])) for i, j in pairs(texts)}
    assert len(named) > 100
    assert {frozenset((mixed[i], mixed[j])) for i, j in pairs(mixed)} == named


def test_many_repeats_of_one_text_are_connected_through_their_neighbours():
    draw = random.Random(3)
    (text,) = sentences(1, seed=4)
    repeats = [changed(text, *draw.sample(range(40), 2)) for _ in range(600)]
    repeats = list(dict.fromkeys(repeats))
    found = components([*repeats, *sentences(600)])
    assert len(repeats) > 400
    assert len(set(found[: len(repeats)].tolist())) == 1
    assert len(set(found.tolist())) == 601


def test_comparisons_grow_with_the_texts_and_no_faster(monkeypatch):
    (frame,) = sentences(1, seed=9, n_words=30)  # each text agrees with all others in these words
    candidates, compared = near_duplicates._candidates, []

    def counted(*args):
        for left, right in candidates(*args):
            compared[-1] += len(left)
            yield left, right

    monkeypatch.setattr(near_duplicates, "_candidates", counted)
    for n in (400, 800):
        compared.append(0)
        links([f"{frame} {text}" for text in sentences(n, n_words=2)])
    assert 400 < compared[0] < compared[1] < 2.2 * compared[0]


@pytest.mark.parametrize("n", [0, 1, 2, 1200])
def test_progress_comes_to_its_end(n):
    looked = []
    near_duplicates.links(sentences(n), looked.append)
    assert sum(looked) == near_duplicates.STAGES * n


def test_the_nearest_text_of_another_group_is_named():
    draw = random.Random(5)
    texts = sentences(300)
    texts += [replaced(text, 0.3, draw) for text in texts]
    every = np.arange(600)
    found = near_duplicates.nearest(texts, every[5:], every, lambda done: None)
    assert found.tolist() == [*range(305, 600), *range(300)]
    pairs_apart = np.tile(np.arange(300), 2)  # each with its twin in one group
    found = near_duplicates.nearest(texts, every, pairs_apart, lambda done: None)
    assert not (pairs_apart[found] == pairs_apart).any()
