"""Wrong answers to homework 8, adaptation: what is asked of a text."""

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 8.7 best_span -------------------------------------------------------------------------------


def whole(context, first, last):
    """Whether nothing from the first to the last is outside."""
    outside = np.cumsum(~context)
    return context[first] & (outside[first] == outside[last])


def spanner(
    table=lambda start, end: start[:, None] + end,
    after=lambda i, j: j >= i,
    short=lambda i, j, longest: j - i < longest,
    inside=lambda context, i, j: whole(context, np.minimum(i, j), np.maximum(i, j)),
    pick=np.argmax,
    nothing=lambda start, end: start[0] + end[0],
    beyond=lambda nothing, best, threshold: nothing > best + threshold,
    lowest=-np.inf,
    finish=lambda i, j: (int(i), int(j)),
    default=0,
):
    """best_span by a table of all sums, with something to get wrong in it."""

    def best_span(start, end, context, *, longest, threshold=default):
        i, j = np.indices((len(start), len(end)))
        may = after(i, j) & short(i, j, longest) & inside(context, i, j)
        if not may.any():
            return None
        sums = np.where(may, np.maximum(table(start, end), -1e300), lowest)
        if lowest > -np.inf:
            sums = np.maximum(sums, lowest)
        first, last = np.unravel_index(pick(sums), sums.shape)
        if beyond(nothing(start, end), sums[first, last], threshold):
            return None
        return finish(first, last)

    return best_span


def span_by_running_ends(start, end, context, *, longest, threshold=0):
    """In loops over Python's numbers."""
    best, where = None, None
    for i in range(len(context)):
        for j in range(i, min(i + longest, len(context))):
            if not context[j]:
                break
            score = float(start[i]) + float(end[j])
            if best is None or score > best:
                best, where = score, (i, j)
    if best is None or float(start[0]) + float(end[0]) - best > threshold:
        return None
    return where


def _last(sums):
    """The last of the largest."""
    return sums.size - 1 - np.argmax(sums.ravel()[::-1])


def each_for_itself(start, end, context, *, longest, threshold=0):
    """Two maxima."""
    i, j = (int(np.where(context, x, -np.inf).argmax()) for x in (start, end))
    return (i, j) if context.any() and start[0] + end[0] <= start[i] + end[j] + threshold else None


def end_after_start(start, end, context, *, longest, threshold=0):
    """The best start, and the best end behind it."""
    if not context.any():
        return None
    i = int(np.where(context, start, -np.inf).argmax())
    behind = (np.arange(len(end)) >= i) & (np.arange(len(end)) < i + longest) & context
    j = int(np.where(behind, end, -np.inf).argmax())
    return (i, j) if start[0] + end[0] <= start[i] + end[j] + threshold else None


for _mistake, _shows, _spanner in [
    ("two maxima", "each for itself", each_for_itself),
    ("the best start first", "another span is better|each for itself", end_after_start),
    ("ends before it begins", "i <= j", spanner(after=lambda i, j: i + j >= 0)),
    ("two places or more", "answer of one place", spanner(after=lambda i, j: j > i)),
    ("the question, too", "only the context", spanner(inside=lambda context, i, j: i >= 0)),
    ("a product", "not their product", spanner(table=lambda s, e: s[:, None] * e)),
    ("one too long", "one too many", spanner(short=lambda i, j, longest: j - i <= longest)),
    ("one too short", "one too few", spanner(short=lambda i, j, longest: j - i < longest - 1)),
    ("any length", "longer than longest", spanner(short=lambda i, j, longest: i >= 0)),
    ("over a gap", "goes over a place", spanner(
        inside=lambda context, i, j: context[i] & context[j])),
    ("as good is none", "not as good", spanner(
        beyond=lambda nothing, best, threshold: nothing >= best + threshold)),
    ("a threshold of its own", "without a threshold", spanner(default=1)),
    ("always an answer", "None is an answer", spanner(beyond=lambda *_: False)),
    ("the other sign", "threshold has the other sign", spanner(
        beyond=lambda nothing, best, threshold: nothing > best - threshold)),
    ("no threshold", "threshold is not looked at", spanner(
        beyond=lambda nothing, best, threshold: nothing > best)),
    ("the start of [CLS]", "one of the two scores", spanner(nothing=lambda s, e: s[0])),
    ("the end of [CLS]", "one of the two scores", spanner(nothing=lambda s, e: e[0])),
    ("the mean of [CLS]", "mean was taken", spanner(
        nothing=lambda s, e: (s[0] + e[0]) / 2)),
    ("the larger of [CLS]", "one of the two scores", spanner(
        nothing=lambda s, e: max(s[0], e[0]))),
    ("the last of equal ones", "of equal spans the first", spanner(pick=_last)),
    ("begins with −1000", "begin with −∞|another span is better|goes over", spanner(
        lowest=-1000.0)),
    ("the length in place of the end", "another span is better|only the context", spanner(
        finish=lambda i, j: (int(i), int(j - i + 1)))),
    ("the end is behind", "another span is better|only the context", spanner(
        finish=lambda i, j: (int(i), int(j) + 1))),
    ("a list", "expected two places", spanner(finish=lambda i, j: [int(i), int(j)])),
]:  # fmt: skip
    PLANTED.add("8.7", _mistake, shows=_shows)(_spanner)


# ---- 8.8 tagged_row ------------------------------------------------------------------------------


def rower(
    at=lambda word: 0,
    nothing=-1,
    keep=lambda words: [i for i, word in enumerate(words) if word],
    special=2,
    cut=lambda entries, room: entries[:room],
    every=False,
    finish=lambda tokens, targets: (tokens, targets),
):
    """tagged_row of pairs, with something to get wrong in it."""

    def tagged_row(words, tags, *, cls, sep, room):
        entries = []
        kept = keep(words)
        for i, tag in zip(kept, tags if len(kept) != len(words) and every else
                          [tags[i] for i in kept]):  # fmt: skip
            word = words[i]
            own = [(token, nothing) for token in word]
            if own:
                own[at(word)] = (word[at(word)], tag)
            entries += own
        entries = cut(entries, room - special)
        entries = [(cls, nothing), *entries, (sep, nothing)]
        tokens, targets = (np.array(x, np.int64) for x in zip(*entries))
        return finish(tokens, targets)

    return tagged_row


def row_by_repeats(words, tags, *, cls, sep, room):
    """All at once, by the places where words begin."""
    flat = [token for word in words for token in word]
    targets = np.full(len(flat) + 1, -1)
    sizes = np.array([len(word) for word in words], int)
    begins = np.cumsum(sizes) - sizes
    targets[begins[sizes > 0]] = np.array(tags, int)[sizes > 0]
    flat, targets = flat[: room - 2], targets[:-1][: room - 2]
    return (
        np.concatenate([[cls], flat, [sep]]).astype(np.int64),
        np.pad(targets, 1, constant_values=-1).astype(np.int64),
    )


def asks_every_piece(words, tags, *, cls, sep, room):
    """Each token has its word's tag."""
    tokens = [token for word in words for token in word][: room - 2]
    targets = [tag for word, tag in zip(words, tags) for _ in word][: room - 2]
    return np.array([cls, *tokens, sep]), np.array([-1, *targets, -1])


def _whole_words(entries, room):
    """Whole words alone, as long as they fit."""
    if len(entries) <= room:
        return entries
    kept = entries[: room + 1]
    while kept and kept.pop()[1] == -1:
        pass
    return kept


def words_alone(words, tags, *, cls, sep, room):
    """One target for each word."""
    tokens = [token for word in words for token in word][: room - 2]
    return np.array([cls, *tokens, sep]), np.array(tags)


def sep_lost(words, tags, *, cls, sep, room):
    """The whole row is cut."""
    tokens, targets = rower()(words, tags, cls=cls, sep=sep, room=10**6)
    return tokens[:room], targets[:room]


for _mistake, _shows, _rower in [
    ("the last piece", "asked at its last token", rower(at=lambda word: len(word) - 1)),
    ("every piece", "every token of a word", asks_every_piece),
    ("−100", "not −100", rower(nothing=-100)),
    ("0", "0 is a tag", rower(nothing=0)),
    ("a target for a word", "one for each token", words_alone),
    ("no target for [CLS]", "at both ends|comes first", rower(
        finish=lambda tokens, targets: (tokens, targets[1:-1]))),
    ("one to the left", "moves all others", rower(
        finish=lambda tokens, targets: (tokens, np.array([*targets[1:], -1])))),
    ("tags of words that are not there", "came to another word", rower(every=True)),
    ("whole words", "in its middle|the tokens are others", rower(cut=_whole_words)),
    ("room without both", r"\[CLS\] and \[SEP\] too", rower(special=0)),
    ("room without [SEP]", r"room is for \[SEP\]", rower(special=1)),
    ("one too few", "one more token", rower(special=3)),
    ("[SEP] cut off", "the tokens are others|the targets are others", sep_lost),
    ("not cut", "shape is", rower(cut=lambda entries, room: entries)),
    ("cut in front", "the tokens are others", rower(
        cut=lambda entries, room: entries[max(len(entries) - room, 0):])),
    ("the tokens alone", "expected the tokens and the targets", rower(
        finish=lambda tokens, targets: tokens)),
    ("an empty word is asked", "came to another word|raised|shape is|are others", rower(
        keep=lambda words: range(len(words)), at=lambda word: 0,
        finish=lambda tokens, targets: (tokens, np.where(targets < 0, -1, targets + 1)))),
]:  # fmt: skip
    PLANTED.add("8.8", _mistake, shows=_shows)(_rower)


@PLANTED.add("8.8", "an empty word gets a token", shows="the shape is|came to another word")
def a_token_for_nothing(words, tags, *, cls, sep, room):
    return row_by_repeats([word or [0] for word in words], tags, cls=cls, sep=sep, room=room)


@PLANTED.add("8.8", "an empty word comes first", shows="came to another word")
def first_come(words, tags, *, cls, sep, room):
    tokens, asked = [], {}
    for word, tag in zip(words, tags):
        asked.setdefault(len(tokens), tag)
        tokens += word
    targets = [asked.get(place, -1) for place in range(len(tokens))][: room - 2]
    row = np.array([cls, *tokens[: room - 2], sep], np.int64)
    return row, np.array([-1, *targets, -1], np.int64)


# ---- 8.9 span_f1 ---------------------------------------------------------------------------------


def scorer(
    begins=lambda tag, before: tag[0] == "B" or before[1:] != tag[1:],
    view=lambda name: name,
    f=lambda p, r: 2 * p * r / (p + r),
    lines=lambda sentences: sentences,
    empty=0.0,
    goes_on=lambda tag: tag != "O",
):
    """span_f1 of sets of names, with something to get wrong in it."""

    def names(sentences):
        found = set()
        for s, tags in enumerate(lines(sentences)):
            open_at = None
            for at, tag in enumerate([*tags, "O"]):
                before = tags[at - 1] if at else "O"
                if open_at is not None and (not goes_on(tag) or begins(tag, before)):
                    found.add(view((s, open_at, at - 1, tags[open_at][2:])))
                    open_at = None
                if tag != "O" and begins(tag, before):
                    open_at = at
        return found

    def span_f1(right, found):
        ours, theirs = names(right), names(found)
        common = len(ours & theirs)
        if not common:
            return empty
        return f(common / len(theirs), common / len(ours))

    return span_f1


def f1_by_keys(right, found):
    """Names as texts, joined."""

    def keys(sentences):
        kept = []
        for number, tags in enumerate(sentences):
            last = ("O", "")
            for place, (letter, _, kind) in enumerate(tag.partition("-") for tag in tags):
                if letter == "I" and last[0] != "O" and last[1] == kind:
                    kept[-1] += f" {place}"
                elif letter != "O":
                    kept.append(f"{number} {kind} {place}")
                last = (letter, kind)
        return kept

    ours, theirs = keys(right), keys(found)
    both = sum(1 for key in ours if key in theirs)
    return 0.0 if both == 0 else both / (both + (len(ours) + len(theirs) - 2 * both) / 2)


def share_of_tags(right, found):
    """How many tags are right."""
    pairs = [(r, f) for rs, fs in zip(right, found) for r, f in zip(rs, fs)]
    return float(np.mean([r == f for r, f in pairs]))


def f1_of_tags(right, found):
    """F1 of tags that are no O."""
    pairs = [(r, f) for rs, fs in zip(right, found) for r, f in zip(rs, fs)]
    both = sum(r == f != "O" for r, f in pairs)
    return float(2 * both / max(sum((r != "O") + (f != "O") for r, f in pairs), 1))


def mean_of_sentences(right, found):
    """Sentence by sentence."""
    return float(np.mean([scorer()([r], [f]) for r, f in zip(right, found)]))


for _mistake, _shows, _scorer in [
    ("accuracy of tags", "share of tags", share_of_tags),
    ("F1 of tags", "tags were counted", f1_of_tags),
    ("precision", "this is the precision", scorer(f=lambda p, r: p)),
    ("recall", "this is the recall", scorer(f=lambda p, r: r)),
    ("the mean of both", "mean of precision and recall|this is", scorer(
        f=lambda p, r: (p + r) / 2)),
    ("no types", "without their type", scorer(view=lambda name: name[:3])),
    ("the first word", "by their first word", scorer(view=lambda n: (*n[:2], n[3]))),
    ("the last word", "by their last word", scorer(view=lambda n: (n[0], *n[2:]))),
    ("any sentence", "names of other sentences|F1 is another", scorer(view=lambda n: n[1:])),
    ("mean of sentences", "mean over the sentences", mean_of_sentences),
    ("one line", "into the next sentence", scorer(
        lines=lambda sentences: [[tag for tags in sentences for tag in tags]])),
    ("B alone", "begins at B- alone", scorer(begins=lambda tag, before: tag[0] == "B")),
    ("any type goes on", "of another type", scorer(
        begins=lambda tag, before: tag[0] == "B" or (tag != "O" and before == "O"))),
    ("B of its type goes on", "also behind one of its type", scorer(
        begins=lambda tag, before: tag != "O" and before[1:] != tag[1:] and before[2:] != tag[2:])),
    ("percent", "not in percent|so it is 1", scorer(f=lambda p, r: 200 * p * r / (p + r))),
    ("1 where there is nothing", "so it is 0", scorer(empty=1.0)),
    ("NaN where there is nothing", "0/0", scorer(empty=float("nan"))),
    ("a type up to its second hyphen", "F1 is another|without their type|is 0", scorer(
        view=lambda n: (*n[:3], n[3].split("-")[0]))),
]:  # fmt: skip
    PLANTED.add("8.9", _mistake, shows=_shows)(_scorer)
