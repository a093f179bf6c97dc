"""Gaps, scores and samples of a masked model, against its logits taken one by one."""

import numpy as np
import pytest

from minissl.nn.evaluating import evaluating
from tests.pretrain.toy import toy_method


@pytest.fixture(scope="module", params=["bert", "roberta"])
def method(request):
    made = toy_method(request.param, seed=3)
    made.model.astype(np.float64)
    generator = np.random.default_rng(0)
    for parameter in made.model.parameters():  # far from the even start
        parameter.array = parameter.array + 0.3 * generator.standard_normal(parameter.shape)
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


def test_a_space_before_a_gap_is_no_token_of_its_own(method):
    assert method.fill("my [MASK] sang [MASK]") == method.fill("my[MASK] sang[MASK]")


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


def test_it_goes_on_with_a_text_by_filling_the_gap_behind_it(method):
    written = []
    method.sample(b"my bird", 6, temperature=0, write=written.append)
    ids = encode(method, "my bird")
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
    with pytest.raises(ValueError, match="sampling needs generator"):
        method.sample(b"", 1, write=written.append)
