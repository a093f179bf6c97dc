"""From documents to a GPT: what the training of ``minissl pretrain gpt`` looks at."""

import numpy as np

from minissl.data.texts import Texts
from minissl.models.generate import next_token_logits, next_token_probabilities
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import open_run, pretrain
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
    data = pretrain(GPTPretraining, Texts(documents), SETTINGS, tmp_path, progress=False).data
    assert (data.stream[1:][data.stream[:-1] == 256] == ord("Q")).all()
    opened = open_run(tmp_path)
    logits = next_token_logits(opened.method.model, [opened.data.separator])
    probabilities, tokenizer = next_token_probabilities(logits), opened.data.tokenizer
    assert tokenizer.decode([int(np.argmax(probabilities))]) == "Q"
    assert probabilities.max() > 0.8
