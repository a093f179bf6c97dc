"""From documents to a GPT: what the training of ``minissl pretrain gpt`` looks at."""

import numpy as np

from minissl.pretrain.generate import next_token_logits, next_token_probabilities
from minissl.pretrain.gpt_run import open_gpt, prepare_gpt, pretrain_gpt
from minissl.pretrain.settings import GPTSettings
from minissl.text.documents import Document

SETTINGS = GPTSettings(
    vocab_size=257, num_layers=1, width=16, num_heads=2, context_length=16, batch_size=8, steps=200,
    learning_rate=1e-2, evaluations=1,
)  # fmt: skip


def test_the_first_token_of_a_document_is_learned(tmp_path):
    """Q begins every document and stands nowhere else: only a target after a separator teaches it.

    The claim ``first-token`` measures what leaving these targets out costs.
    """
    documents = [Document(f"d{i}", f"s{i}", "Q" + "ab" * (5 + i % 4)) for i in range(60)]
    data = prepare_gpt(documents, tmp_path, SETTINGS, progress=False)
    assert (data.stream[1:][data.stream[:-1] == 256] == ord("Q")).all()
    pretrain_gpt(data, tmp_path, SETTINGS, progress=False)
    model, tokenizer, separator = open_gpt(tmp_path)
    probabilities = next_token_probabilities(next_token_logits(model, [separator]))
    assert tokenizer.decode([int(np.argmax(probabilities))]) == "Q"
    assert probabilities.max() > 0.8
