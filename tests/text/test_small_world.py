"""The small world against solvers that read sentences: what is said is true, and what is asked new.

The solvers know nothing of how a text was drawn: they take it apart by regular expressions.
"""

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from minissl.text import small_world
from minissl.text.small_world import KINDS, documents, minimal_pairs, reviews

COUNT = 100
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def texts():
    found = defaultdict(list)
    for document in documents(16_000, seed=3):
        found[document.source].append(document.text)
    return found


@pytest.fixture(scope="module")
def pairs():
    found = defaultdict(list)
    for seed in SEEDS:
        for kind, *row in minimal_pairs(COUNT, seed):
            found[kind].append(row)
    return found


def words_of(text):
    return re.findall(r"[A-Za-z]+|\d+|[.,]", text)


# ---- what is right -------------------------------------------------------------------------------


def place_of_college(text):
    """From any of the five sentences: (college, town)."""
    college = re.search(r"(\w+) College", text)[1]
    return college, re.sub(r"^In (\w+) stands.*|.*(?:in|of) (\w+)\.$", r"\1\2", text)


def number_of(text):
    """Of the noun that follows: "s" or ""."""
    return "" if words_of(text)[2] in ("a", "one", "this", "every") else "s"


def owner(text):
    """The pronoun of the one that a sentence begins with."""
    return "her" if words_of(text)[1] in small_world.WOMEN else "his"


def topic_of(word):
    return next(place for place, words in small_world.TOPICS.items() if word in words)


def verdict(text):
    """Good where each sentence about a part says good, or not bad."""
    said = set()
    for _, negated, word in re.findall(r"The (\w+) was (not )?(\w+)\.", text):
        if word not in ("good", "bad"):
            said.add((word in small_world.GOOD) != bool(negated))
    assert len(said) == 1
    return "good" if said == {True} else "bad"


def room_of_both(text):
    """Who went where, who is next to them, the room in which both are, and both rooms."""
    first = text.split()[0]
    room, *_ = re.findall(r"\bto the (\w+)", text)
    origin, *_ = re.findall(r"\bfrom the (\w+)", text)
    second, other = re.search(r"(\w+) \w+ next to (\w+)\.", text).groups()
    assert other == first != second
    return first, second, room, origin


def terms_of(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def right_answer(kind, prompt, places):
    """What a reader would say, without the space."""
    if kind == "trivia":
        return places[words_of(prompt)[0]]
    if kind == "coreference":
        return owner(prompt)
    if kind == "sentiment":
        return verdict(prompt)
    if kind == "location":
        _, second, room, _ = room_of_both(prompt)
        assert prompt.endswith(f". {second} left the")
        return room
    first, second = terms_of(prompt)[-2:]
    return str(first + second)


@pytest.mark.parametrize("kind", ["trivia", "coreference", "sentiment", "location", "sequence"])
def test_the_right_answer_is_right_and_the_wrong_one_is_not(kind, pairs, texts):
    places = dict(map(place_of_college, texts["trivia"]))
    for prompt, right, wrong in pairs[kind]:
        assert f" {right_answer(kind, prompt, places)}" == right != wrong


def test_grammar_and_topic_are_right(pairs):
    for prompt, right, wrong in pairs["grammar"]:
        noun = min(right, wrong, key=len)
        assert (right, {right, wrong}) == (noun + number_of(prompt), {noun, noun + "s"})
    for prompt, right, wrong in pairs["topic"]:
        seen = {topic_of(word) for word in re.findall(r"the (\w+)", prompt)}
        assert seen == {topic_of(right.strip())} != {topic_of(wrong.strip())}


def test_what_documents_say_is_true(texts):
    facts = {place_of_college(text) for text in texts["trivia"]}
    assert len(facts) == len(dict(facts)) == len({town for _, town in facts}) == 24
    for text in texts["grammar"]:
        noun = next(w for w in words_of(text)[3:] if w.removesuffix("s") in small_world.THINGS)
        assert noun.endswith("s") == bool(number_of(text))
    for text in texts["coreference"]:
        assert owner(text) == re.search(r"\b(her|his) \w+\.$", text)[1]
    for text in texts["topic"]:
        places = [topic_of(word) for word in re.findall(r"the (\w+)(?:,| and|\.)", text)]
        assert len(places) == 3
        assert len({*places, *re.findall(r"went to the (\w+) ", text)}) == 1
    for text in texts["sentiment"]:
        assert text.endswith(f"The film was {verdict(text)}.")
    for text in texts["location"]:
        first, second, room, _ = room_of_both(text)
        ends = [f"{a} left the {room}. {b} is still in the {room}." for a, b in
                ((first, second), (second, first))]  # fmt: skip
        assert text.endswith(tuple(ends))
    for text in texts["sequence"]:
        terms = terms_of(text)
        assert [a + b for a, b in pairwise(terms)][:-1] == terms[2:] != []


# ---- what is new ---------------------------------------------------------------------------------


def combination(kind, text):
    """What stands together in a text, which a document and a question must not share: a set."""
    words = words_of(text)
    if kind == "trivia":
        return {text} if "located" in text else set()
    if kind == "grammar":
        looks = [i for i, word in enumerate(words) if word in small_world.LOOKS]
        return {(words[i], words[i + 1].removesuffix("s")) for i in looks}
    if kind == "coreference":
        people = [word for word in words if word in (*small_world.WOMEN, *small_world.MEN)]
        return {frozenset(people)} if len(people) == 2 else set()
    if kind == "topic":
        return {frozenset(re.findall(r"the (\w+)(?:,| and|\.)", text))}
    if kind == "sentiment":
        said = re.findall(r"The (\w+) was (?:not )?(\w+)\.", text)
        return {(part, word) for part, word in said if part != "film"}
    if kind == "location":
        first, second, *rooms = room_of_both(text)
        return {(person, room) for person in (first, second) for room in rooms}
    terms = terms_of(text)
    return {tuple(terms[i : i + 2]) for i in range(len(terms) - 2)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_is_in_no_document(kind, pairs, texts):
    read = set().union(*(combination(kind, text) for text in texts[kind]))
    asked = set()
    for prompt, right, _ in pairs[kind]:
        own = combination(kind, f"{prompt}{right}.")
        asked |= {max(own, key=sum)} if kind == "sequence" else own
    assert len(asked) > 10
    assert not asked & read
    told = "\n".join(texts[kind])
    for prompt, right, _ in pairs[kind]:
        alone = kind == "grammar" and len(words_of(prompt)) == 3  # two neighbours are learned
        assert alone or f"{prompt}{right}" not in told


def test_every_word_of_a_question_was_read(pairs, texts):
    known = Counter(word for some in texts.values() for text in some for word in words_of(text))
    for rows in pairs.values():
        for prompt, right, wrong in rows:
            assert min(known[word] for word in words_of(prompt + right + wrong)) >= 3


# ---- what is fair --------------------------------------------------------------------------------


def oracle(texts, pairs, length):
    """The share right, in per cent, by float64 counts of ``length`` words, plus one each."""
    counts = Counter()
    for text in (text for some in texts.values() for text in some):
        words = ["", *words_of(text)]
        counts.update(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    right = []
    for prompt, *answers in pairs:
        before = tuple(["", *words_of(prompt)][-(length - 1) :]) if length > 1 else ()
        good, bad = (np.log(np.float64(counts[*before, a.strip()] + 1)) for a in answers)
        right.append((good > bad) + (good == bad) / 2)
    return 100 * float(np.mean(right))


@pytest.mark.parametrize("kind", KINDS)
def test_counts_of_words_answer_half_of_the_questions_exactly(kind, pairs, texts):
    assert oracle(texts, pairs[kind], 1) == 50
    if kind != "grammar":
        assert oracle(texts, pairs[kind], 2) == 50


def test_counts_of_pairs_know_the_grammar_of_neighbours(pairs, texts):
    """Where there is an adjective, they know nothing."""
    near = [row for row in pairs["grammar"] if len(words_of(row[0])) == 3]
    far = [row for row in pairs["grammar"] if len(words_of(row[0])) == 4]
    assert min(len(near), len(far)) > 60
    assert oracle(texts, near, 2) == 100
    assert oracle(texts, far, 2) == 50


def test_pairs_come_in_couples_with_the_answers_exchanged(pairs):
    for kind, rows in pairs.items():
        for (prompt, right, wrong), (other, *answers) in zip(rows[::2], rows[1::2]):
            assert (right, wrong) == (answers[1], answers[0])
            assert prompt != other
            if kind != "grammar":
                assert words_of(prompt)[-1] == words_of(other)[-1]


def test_no_place_in_the_prompt_tells_the_room(pairs):
    first = [prompt.index(right) < prompt.index(wrong) for prompt, right, wrong in
             pairs["location"]]  # fmt: skip
    assert np.mean(first) == 0.5


def test_the_other_person_tells_nothing_of_the_owner(texts):
    """The second is of the same kind as the first as often as not."""
    people = {**dict.fromkeys(small_world.WOMEN, "her"), **dict.fromkeys(small_world.MEN, "his")}
    met = [[people[w] for w in words_of(t) if w in people] for t in texts["coreference"]]
    same = [one == other for one, other in (both for both in met if len(both) == 2)]
    assert abs(np.mean(same) - 0.5) < 4 * 0.5 / np.sqrt(len(same))


# ---- what is drawn -------------------------------------------------------------------------------


def test_a_seed_draws_the_same_again_and_another_draws_other_texts():
    assert documents(70, 1) == documents(70, 1) != documents(70, 2)
    assert documents(140, 1)[:70] == documents(70, 1)
    assert minimal_pairs(10, 1) == minimal_pairs(10, 1) != minimal_pairs(10, 2)
    assert [document.source for document in documents(16)] == [*KINDS, "coreference"] * 2
    assert len({document.name for document in documents(700)}) == 700


def test_pairs_are_as_many_as_asked_and_all_different():
    rows = minimal_pairs(COUNT)
    assert Counter(kind for kind, *_ in rows) == dict.fromkeys(KINDS, COUNT)
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("count", [0, -2, 3])
def test_an_odd_count_is_refused(count):
    with pytest.raises(ValueError, match=f"even and at least 2, .*; got {count}"):
        minimal_pairs(count)


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="about 132 different pairs about trivia, asked for 134"):
        minimal_pairs(134)
    assert len(minimal_pairs(132)) == 7 * 132


def test_reviews_are_balanced_true_and_new(texts):
    read = set().union(*(combination("sentiment", text) for text in texts["sentiment"]))
    found = reviews(200, 1)
    assert found == reviews(200, 1) != reviews(200, 2)
    assert Counter(review.source for review in found) == {"good": 100, "bad": 100}
    for review in found:
        assert review.source == verdict(review.text)
        assert not combination("sentiment", review.text) & read
