"""Gaps, scores and samples of a masked model, against its logits taken one by one."""

import numpy as np
import pytest

from minissl.nn.evaluating import evaluating
from tests.pretrain.toy import toy_method


@pytest.fixture(scope="module", params=["bert", "roberta"])
def method(request):
    made = toy_method(request.param, seed=3, dropout=0.5)
    made.model.train()
    made.model.astype(np.float64)
    generator = np.random.default_rng(0)
    for parameter in made.model.parameters():  # far from the even start
        parameter.array = parameter.array + 0.3 * generator.standard_normal(parameter.shape)
    made.model.words.bias.array[list(made.tokenizer.special_tokens.values())] += 5
    return made


def log_p(method, row, place):
    """ln p of every token at one place of one row."""
    with evaluating(method.model):
        states = method.model(np.array([row]))
        logits = method.model.word_logits(states).numpy()[0, place].astype(np.float64)
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def encode(method, text):
    return method.tokenizer.encode(text, allow_special="none")


def test_a_gap_is_filled_by_the_likeliest_tokens_that_are_not_special(method):
    before, after = encode(method, "my"), encode(method, " sang a")
    row = [method.cls, *before, method.mask, *after, method.mask, method.sep]
    gaps = method.fill("my[MASK] sang a[MASK]", 4)
    assert [len(gap) for gap in gaps] == [4, 4]
    for gap, place in zip(gaps, (1 + len(before), len(row) - 2)):
        p = np.exp(log_p(method, row, place))
        p[list(method.tokenizer.special_tokens.values())] = 0
        p /= p.sum()
        best = np.argsort(-p)[:4]
        show = method.tokenizer.token_bytes
        assert [one.text for one in gap] == [show(int(i)).decode("utf-8", "replace") for i in best]
        np.testing.assert_allclose([one.probability for one in gap], p[best], rtol=1e-9)


def test_a_space_before_a_gap_is_of_what_is_missing(method):
    """Bytes: " sang" is one token. WordPiece knows no spaces."""
    assert method.fill("my bird [MASK] a log", 3) == method.fill("my bird[MASK] a log", 3)
    assert (
        method.fill("my  [MASK]", 3) != method.fill("my[MASK]", 3)
        or method.settings.pieces == "wordpiece"
    )


def test_no_more_tokens_than_there_are_fill_a_gap(method):
    (gap,) = method.fill("my [MASK]", 10**6)
    assert len(gap) == method.tokenizer.vocab_size - len(method.tokenizer.special_tokens)
    assert sum(one.probability for one in gap) == pytest.approx(1)
    assert min(one.probability for one in gap) > 0


def test_a_score_is_a_chain_from_left_to_right(method):
    prompts, answers = ["my bird", "", "a dog"], [" sang a", " xyz", " ran"]
    found = method.score(prompts, answers)
    lengths, cut = method.answer_lengths(prompts, answers)
    for prompt, answer, score, length in zip(prompts, answers, found, lengths):
        before, after = encode(method, prompt), encode(method, answer)
        expected = 0.0
        for i, token in enumerate(after):
            hidden = [method.mask] * (len(after) - i)
            row = [method.cls, *before, *after[:i], *hidden, method.sep]
            expected += log_p(method, row, 1 + len(before) + i)[token]
        assert score == pytest.approx(expected, rel=1e-9)
        assert length == len(after)
    assert not cut.any()


def test_a_long_prompt_loses_its_beginning_and_a_long_answer_is_refused(method):
    long = "my bird sang " * 9
    room = method.settings.context_length - 2
    last = encode(method, long)[-(room - len(encode(method, " a"))) :]
    row = [method.cls, *last, *[method.mask] * len(encode(method, " a")), method.sep]
    assert len(encode(method, " a")) == 1
    found = method.score([long], [" a"])[0]
    assert found == pytest.approx(log_p(method, row, room)[encode(method, " a")[0]], rel=1e-9)
    assert method.answer_lengths([long], [" a"])[1].all()
    with pytest.raises(ValueError, match=f"the context of the model has room for {room}"):
        method.score(["a"], [long])
    with pytest.raises(ValueError, match=f"has room for {room}: give a shorter one"):
        method.fill(long + "[MASK]")
    with pytest.raises(ValueError, match="2 prompts have 1 answers"):
        method.score(["a", "b"], ["c"])
    with pytest.raises(TypeError, match="prompts must be several texts"):
        method.score("a", ["c"])
    with pytest.raises(ValueError, match=r"there is no .MASK. in 'a dog'"):
        method.fill("a dog")


def filled(method, unit, size):
    """Copies of a text of one token, as many as are asked for."""
    text = unit * size
    assert len(encode(method, text)) == size
    return text


def test_what_just_has_room_is_taken_whole(method):
    room, unit = method.settings.context_length - 2, " a"
    assert len(method.fill(filled(method, unit, room - 1) + "[MASK]")) == 1
    with pytest.raises(ValueError, match=f"has {room + 1} tokens"):
        method.fill(filled(method, unit, room) + "[MASK]")
    whole = filled(method, unit, room)
    assert np.isfinite(method.score([""], [whole])).all()
    prompts, answers = [filled(method, unit, room - 1), whole], [unit, unit]
    assert method.answer_lengths(prompts, answers)[1].tolist() == [False, True]
    (token,) = encode(method, unit)
    before = encode(method, " ran" + filled(method, unit, room - 3))[-room + 1 :]
    row = [method.cls, *before, method.mask, method.sep]
    expected = log_p(method, row, 1 + len(before))[token]
    found = method.score([" ran" + filled(method, unit, room - 3)], [unit])[0]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_prompt_is_ordinary_text(method):
    before, (token,) = encode(method, "[MASK]"), encode(method, " a")
    assert len(before) > 1
    row = [method.cls, *before, method.mask, method.sep]
    found = method.score(["[MASK]"], [" a"])[0]
    assert found == pytest.approx(log_p(method, row, 1 + len(before))[token], rel=1e-9)


def test_one_token_to_choose_from_is_the_likeliest(method):
    outs = [[], [], []]
    for out, options in zip(outs, ({"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9})):
        generator = np.random.default_rng(5)
        method.sample(b"a dog", 4, generator=generator, write=out.append, **options)
    assert outs[0] == outs[1] == outs[2]


def test_pieces_that_go_on_inside_a_word_are_joined(method):
    if method.settings.pieces != "wordpiece":
        return
    out = []
    method.sample(b"a", 60, generator=np.random.default_rng(2), temperature=3, write=out.append)
    assert 5 < sum(piece.startswith(b" ") for piece in out) < 55
    assert not any(b"##" in piece for piece in out)


def test_it_goes_on_with_a_text_by_filling_the_gap_behind_it(method):
    written = []
    prompt = "my bird sang to a dog " * 3  # longer than the context
    method.sample(prompt.encode(), 6, temperature=0, write=written.append)
    ids = encode(method, prompt)
    assert len(ids) > method.settings.context_length
    special = list(method.tokenizer.special_tokens.values())
    for piece in written:
        row = [method.cls, *ids[-(method.settings.context_length - 3) :], method.mask, method.sep]
        p = log_p(method, row, len(row) - 2)
        p[special] = -np.inf
        ids.append(int(p.argmax()))
        text = method.tokenizer.token_bytes(ids[-1])
        if method.settings.pieces == "wordpiece":
            text = text[2:] if text.startswith(b"##") else b" " + text
        assert piece == text
    assert len(written) == 6
    again = [[], []]
    for out in again:
        method.sample(b"", 5, generator=np.random.default_rng(1), write=out.append)
    assert again[0] == again[1]
    assert len(again[0]) == 5
    ordinary, special = ([], [])
    for how, out in (("none", ordinary), ("all", special)):
        method.sample(b"my [MASK]", 1, temperature=0, write=out.append, allow_special=how)
        ids = method.tokenizer.encode("my [MASK]", allow_special=how)
        p = log_p(method, [method.cls, *ids, method.mask, method.sep], len(ids) + 1)
        p[list(method.tokenizer.special_tokens.values())] = -np.inf
        token = method.tokenizer.token_bytes(int(p.argmax()))
        assert out[0].strip() == token.removeprefix(b"##").strip()
    with pytest.raises(ValueError, match="sampling needs generator"):
        method.sample(b"", 1, write=written.append)
