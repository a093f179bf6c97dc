"""A small English world, and what a language model can learn of it: seven kinds of sentences.

To predict the next word of a text is to answer questions that nobody wrote down: where a college is
(trivia), whether "two small" is followed by "fork" or "forks" (grammar), whose shoulder it is
(coreference), what else lives in the sea (topic), whether the film was good (sentiment), which room
somebody can leave (location), what comes after 3, 5, 8 (sequence). Here each is a few templates:
``documents`` draws texts to learn from, ``minimal_pairs`` questions. Lecture 05.

**What was never read.** The world is the same for every seed; a seed only draws from it. What pairs
ask for is kept out of every document, so that it has to be concluded from other sentences:

- trivia: a fact is in the text, but of the colleges that are asked about never in the sentence that
  is asked ("Alder College is located in"), which tells of the others where they are;
- grammar: the adjective, where there is one, stands beside other things ("two small");
- coreference: this woman and this man never meet;
- topic: these three, the two listed and the one asked, are never in one text;
- sentiment: these adjectives are said of other parts of a film;
- location: neither person is ever in one of the two rooms, or leaves it;
- sequence: these two numbers never stand beside each other before a third.

**Fair pairs.** They come in couples: two prompts that end in the same word, and what is right after
one is wrong after the other. So whoever looks at the answers alone is right in exactly half of the
pairs, and so is who looks at the last word too, but for "put two" and "put a" (half of the pairs of
grammar). In coreference and location the same words in another order turn the answer, in sentiment
perhaps a "not". The answers are one word each, and stand in the prompt both or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from minissl.text.documents import Document

Row = tuple[str, str, str]  # a prompt, the right answer, the wrong one
T = TypeVar("T")

WOMEN = ("woman", "girl", "queen", "aunt", "mother", "sister", "lady", "nun")
MEN = ("man", "boy", "king", "uncle", "father", "brother", "lord", "monk")
NAMES = tuple("Anna Ben Clara Dan Emma Finn Gina Hugo Ida Jack Kate Leo Mia Nick Olga Paul".split())
SINGULAR, PLURAL = ("a", "one", "this", "every"), ("two", "three", "these", "many")
THINGS = tuple("fork spoon cup plate bowl book pen lamp key hat coin chair".split())
LOOKS = ("small", "red", "clean", "new", "blue", "heavy")
PUT, WHERE = ("put", "left", "found", "saw"), ("on the table", "by the door", "under the bed")
COLLEGES = tuple(
    "Alder Ash Beech Birch Cedar Cherry Elm Fir Hawthorn Hazel Holly Ivy Larch Laurel Lime Maple "
    "Myrtle Oak Olive Pine Poplar Rowan Walnut Willow".split()
)
TOWNS = tuple(
    "Marlow Ripley Dover Ludlow Kelso Hexham Selby Exeter Norton Bath York Lewes Truro Wells Leeds "
    "Derby Hull Ripon Crewe Poole Rugby Louth Corby Stroud".split()
)
FACTS = (
    "The students of {0} College live in {1}.",
    "{0} College is the pride of {1}.",
    "The road to {0} College begins in {1}.",
    "In {1} stands {0} College.",
)
ASKED_FACT = "{0} College is located in"
MEETS = ("passed", "met", "followed", "saw")
ACTS = (("looked over", "shoulder"), ("took off", "hat"), ("closed", "eyes"), ("called", "dog"))
PLACES = (" on the street", " at the market", " near the bridge")
TOPICS = {
    "sea": ("fish", "turtles", "seals", "whales", "crabs", "sharks", "dolphins", "eels"),
    "farm": ("cows", "hens", "pigs", "goats", "sheep", "horses", "ducks", "geese"),
    "forest": ("owls", "foxes", "bears", "wolves", "deer", "hares", "squirrels", "snakes"),
    "garden": ("roses", "tulips", "lilies", "bees", "daisies", "snails", "poppies", "pansies"),
}
WATCHERS = ("I", "We", "They")
PARTS = ("plot", "music", "acting", "ending", "story", "dancing")
GOOD = ("clever", "lovely", "warm", "bright", "funny", "fresh")
BAD = ("dull", "flat", "cold", "slow", "weak", "stale")
OPENINGS = ("I saw the film on Monday.", "I saw the film with my sister.", "I went to the cinema.")
SIGNS = ("I fell asleep.", "The best of it was the popcorn."), ("I laughed a lot.", "I stayed.")
VERDICT = "The film was"
ROOMS = ("kitchen", "garden", "attic", "cellar", "hall", "study", "garage", "bedroom")
WALKS, STANDS = ("went", "walked", "ran"), ("stands", "waits", "sits")
FIRST = 20  # the largest of the two numbers that begin a sequence
LARGEST = 60  # the largest of all
LONGEST = 5  # numbers


# ---- what is drawn -------------------------------------------------------------------------------


class Kind(NamedTuple):
    """How texts of one kind are drawn, and couples of pairs."""

    document: Callable[[np.random.Generator], str]
    couple: Callable[[np.random.Generator], tuple[Row, Row]]


def documents(count: int, seed: int = 0) -> list[Document]:
    """So many texts to learn from, the kinds in turn; the source of a document is its kind.

    Coreference has two turns, since it is learned last. Texts repeat: of trivia there are only 108.
    """
    generator = np.random.default_rng([seed, 0])
    kinds = [*KINDS.items(), ("coreference", KINDS["coreference"])]
    return [
        Document(f"small-world/{number}", name, kind.document(generator))
        for number, (name, kind) in enumerate(kinds[i % len(kinds)] for i in range(count))
    ]


def minimal_pairs(count: int, seed: int = 0) -> list[tuple[str, str, str, str]]:
    """``count`` of each kind: (kind, prompt, right, wrong), all different.

    An answer begins with its space, as it stands in a text.
    The two pairs of a couple follow each other. Raises ValueError for a count that is odd or more
    than there are.
    """
    if count < 2 or count % 2:
        raise ValueError(f"count must be even and at least 2, for pairs come in twos; got {count}")
    generator = np.random.default_rng([seed, 1])
    rows = []
    for name, kind in KINDS.items():
        found: dict[Row, None] = {}  # a set in the order of its making
        for _ in range(100 * count):
            couple = kind.couple(generator)
            if not any(row in found for row in couple):  # whole couples: that is what is fair
                found |= dict.fromkeys(couple)
            if len(found) == count:
                break
        else:
            raise ValueError(
                f"there are about {len(found)} different pairs about {name}, asked for {count}: "
                "ask for fewer"
            )
        rows += [(name, prompt, f" {right}", f" {wrong}") for prompt, right, wrong in found]
    return rows


def reviews(count: int, seed: int = 0) -> list[Document]:
    """Reviews without their verdict; the source of each is "good" or "bad", in turn.

    They are as those of the pairs: nothing in ``documents`` says these adjectives of these parts.
    With " The film was" behind it, a review is a question to a language model.
    """
    generator = np.random.default_rng([seed, 2])
    return [
        Document(f"review/{i}", ("good", "bad")[i % 2], review(generator, i % 2 == 0, asked=True))
        for i in range(count)
    ]


def one(generator: np.random.Generator, items: Sequence[T]) -> T:
    """One of them."""
    return items[int(generator.integers(len(items)))]


def some(generator: np.random.Generator, count: int, items: Sequence[T]) -> list[T]:
    """So many different ones, in any order."""
    return [items[i] for i in generator.permutation(len(items))[:count]]


def coin(generator: np.random.Generator, chance: float = 0.5) -> bool:
    """True with this probability."""
    return bool(generator.random() < chance)


# ---- trivia --------------------------------------------------------------------------------------


def fact(generator: np.random.Generator) -> str:
    """Where a college is; every second college is never in the sentence that is asked."""
    number = int(generator.integers(len(COLLEGES)))
    forms = FACTS if number % 2 else (*FACTS, f"{ASKED_FACT} {{1}}.")
    return one(generator, forms).format(COLLEGES[number], TOWNS[number])


def fact_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """Two colleges and their towns."""
    first, second = some(generator, 2, range(1, len(COLLEGES), 2))
    towns = TOWNS[first], TOWNS[second]
    return (
        (ASKED_FACT.format(COLLEGES[first]), *towns),
        (ASKED_FACT.format(COLLEGES[second]), towns[1], towns[0]),
    )


# ---- grammar -------------------------------------------------------------------------------------


def seen_with(look: int, thing: int) -> bool:
    """Whether a document may say this adjective of this thing."""
    return (look + thing) % 3 > 0


def thing(generator: np.random.Generator) -> str:
    """Somebody puts one thing, or several, somewhere."""
    number = int(generator.integers(len(THINGS)))
    looks = [f" {look}" for i, look in enumerate(LOOKS) if seen_with(i, number)]
    plural = coin(generator)
    counted = one(generator, PLURAL if plural else SINGULAR)
    look = one(generator, looks) if coin(generator) else ""
    noun = THINGS[number] + "s" * plural
    begin = f"{one(generator, NAMES)} {one(generator, PUT)}"
    return f"{begin} {counted}{look} {noun} {one(generator, WHERE)}."


def thing_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """One thing or several of it."""
    number = int(generator.integers(len(THINGS)))
    looks = [f" {look}" for i, look in enumerate(LOOKS) if not seen_with(i, number)]
    look = one(generator, looks) if coin(generator) else ""
    begin = f"{one(generator, NAMES)} {one(generator, PUT)}"
    noun = THINGS[number]
    return (
        (f"{begin} {one(generator, SINGULAR)}{look}", noun, noun + "s"),
        (f"{begin} {one(generator, PLURAL)}{look}", noun + "s", noun),
    )


# ---- coreference ---------------------------------------------------------------------------------


def may_meet(woman: str, man: str) -> bool:
    """Whether these two are together in a document: of every fourth pair not."""
    return (WOMEN.index(woman) + MEN.index(man)) % 4 > 0


def meeting(generator: np.random.Generator) -> str:
    """One person, or one who meets another, does something with what is theirs.

    The other is a woman as often as a man, whoever the first is: only the first tells whose it is.
    """
    first_is_woman = coin(generator)
    ours, theirs = (WOMEN, MEN) if first_is_woman else (MEN, WOMEN)
    first, friend = some(generator, 2, ours)
    act, what = one(generator, ACTS)
    end = f"{act} {'her' if first_is_woman else 'his'} {what}."
    if coin(generator, 0.2):
        return f"The {first} {end}"
    pairs = [(first, other) if first_is_woman else (other, first) for other in theirs]
    others = [other for other, pair in zip(theirs, pairs) if may_meet(*pair)]
    second = friend if coin(generator) else one(generator, others)
    place = one(generator, PLACES) if coin(generator) else ""
    return f"The {first} {one(generator, MEETS)} the {second}{place} and {end}"


def meeting_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """A woman meets a man, or the man her: the one who meets does something."""
    woman, man = one(generator, [(w, m) for w in WOMEN for m in MEN if not may_meet(w, m)])
    meets, place, (act, _) = one(generator, MEETS), one(generator, PLACES), one(generator, ACTS)
    return (
        (f"The {woman} {meets} the {man}{place} and {act}", "her", "his"),
        (f"The {man} {meets} the {woman}{place} and {act}", "his", "her"),
    )


# ---- topic ---------------------------------------------------------------------------------------


def three(generator: np.random.Generator, words: Sequence[str], asked: bool) -> list[str]:
    """Three words of a topic: of every fourth three not, unless they are asked about."""
    while True:
        places = some(generator, 3, range(len(words)))
        if (sum(places) % 4 == 0) == asked:
            return [words[place] for place in places]


def outing(generator: np.random.Generator) -> str:
    """Three that live in one place."""
    place, words = one(generator, list(TOPICS.items()))
    a, b, c = three(generator, words, asked=False)
    went = f"went to the {place} to see" if coin(generator) else "saw"
    return f"{one(generator, WATCHERS)} {went} the {a}, the {b} and the {c}."


def outing_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """Two of one place, and a third of it or of another."""
    who = one(generator, WATCHERS)
    (a, b, c), (d, e, f) = (
        three(generator, words, asked=True) for words in some(generator, 2, list(TOPICS.values()))
    )
    prompts = [f"{who} saw the {x}, the {y} and the" for x, y in ((a, b), (d, e))]
    return (prompts[0], c, f), (prompts[1], f, c)


# ---- sentiment -----------------------------------------------------------------------------------


def opinion(generator: np.random.Generator, part: int, good: bool, asked: bool) -> str:
    """A sentence about a part of a film, perhaps with "not" and the opposite."""
    negated = coin(generator, 0.4)
    words = GOOD if good != negated else BAD
    chosen = one(generator, [w for i, w in enumerate(words) if ((part + i) % 3 == 0) == asked])
    return f"The {PARTS[part]} was {'not ' * negated}{chosen}."


def review(generator: np.random.Generator, good: bool, asked: bool = False) -> str:
    """Two sentences of opinion between others; ``asked``: about what no document says."""
    first, second = some(generator, 2, range(len(PARTS)))
    sentences = [opinion(generator, part, good, asked) for part in (first, second)]
    if coin(generator):
        sentences.insert(0, one(generator, OPENINGS))
    if not asked and coin(generator):
        sentences.insert(1, one(generator, SIGNS[good]))
    return " ".join(sentences)


def film(generator: np.random.Generator) -> str:
    """A review with its verdict."""
    good = coin(generator)
    return f"{review(generator, good)} {VERDICT} {'good' if good else 'bad'}."


def film_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """A good film and a bad one."""
    good, bad = (f"{review(generator, which, asked=True)} {VERDICT}" for which in (True, False))
    return (good, "good", "bad"), (bad, "bad", "good")


# ---- location ------------------------------------------------------------------------------------


def may_enter(person: int, room: int) -> bool:
    """Whether a document may say that this person is in this room: not of every fourth pair."""
    return (person + room) % 4 > 0


def walk(verb: str, person: int, rooms: Sequence[str], forward: bool) -> str:
    """Somebody goes from the first room to the second, or to the first from the second."""
    first, second = ("from", "to") if forward else ("to", "from")
    return f"{NAMES[person]} {verb} {first} the {rooms[0]} {second} the {rooms[1]}."


def house(generator: np.random.Generator) -> str:
    """Somebody changes the room; of the two who are there then, one leaves and one stays."""
    while True:
        people = some(generator, 2, range(len(NAMES)))
        rooms = some(generator, 2, range(len(ROOMS)))
        if all(may_enter(person, room) for person in people for room in rooms):
            break
    forward, names = coin(generator), [ROOMS[room] for room in rooms]
    text, there = walk(one(generator, WALKS), people[0], names, forward), names[forward]
    first, second = (NAMES[person] for person in people)
    text += f" {second} {one(generator, STANDS)} next to {first}."
    leaves, stays = (second, first) if coin(generator, 0.75) else (first, second)
    return f"{text} {leaves} left the {there}. {stays} is still in the {there}."


def house_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """Which room is left: the words of both prompts are the same, but for "from" and "to"."""
    group = int(generator.integers(4))
    rooms = [ROOMS[room] for room in some(generator, 2, range(-group % 4, len(ROOMS), 4))]
    first, second = some(generator, 2, range(group, len(NAMES), 4))
    end = f"{one(generator, STANDS)} next to {NAMES[first]}. {NAMES[second]} left the"
    verb = one(generator, WALKS)
    prompts = [
        f"{walk(verb, first, rooms, forward)} {NAMES[second]} {end}" for forward in (False, True)
    ]
    return (prompts[0], rooms[0], rooms[1]), (prompts[1], rooms[1], rooms[0])


# ---- sequence ------------------------------------------------------------------------------------


def is_continued(first: int, second: int) -> bool:
    """Whether a document may say what comes after these two numbers."""
    return (first * first + 3 * second) % 7 > 0


def numbers(generator: np.random.Generator) -> str:
    """Each number is the sum of the two before it, from any two small ones."""
    while True:
        terms = [int(x) for x in generator.integers(1, FIRST + 1, 2)]
        while len(terms) < LONGEST and sum(terms[-2:]) <= LARGEST and is_continued(*terms[-2:]):
            terms.append(sum(terms[-2:]))
        if len(terms) > 2:
            return f"The numbers are {', '.join(map(str, terms))}."


def numbers_couple(generator: np.random.Generator) -> tuple[Row, Row]:
    """Three numbers and what comes next; the third is the same in both."""
    while True:
        third = int(generator.integers(4, 2 * FIRST))
        range_of_second = range(max(1, third - FIRST), min(third, FIRST + 1))
        known = [x for x in range_of_second if not is_continued(x, third)]
        if len(known) > 1:
            break
    first, other = some(generator, 2, known)
    prompts = [f"The numbers are {third - x}, {x}, {third}," for x in (first, other)]
    one_sum, other_sum = str(first + third), str(other + third)
    return (prompts[0], one_sum, other_sum), (prompts[1], other_sum, one_sum)


KINDS = {
    "trivia": Kind(fact, fact_couple),
    "grammar": Kind(thing, thing_couple),
    "coreference": Kind(meeting, meeting_couple),
    "topic": Kind(outing, outing_couple),
    "sentiment": Kind(film, film_couple),
    "location": Kind(house, house_couple),
    "sequence": Kind(numbers, numbers_couple),
}
