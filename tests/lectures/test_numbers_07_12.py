"""The numbers that lectures 07, 11 and 12 print, computed once more.

``Lecture.says`` wants a number to stand in the text as written and to be right to its last digit
(or to ``within``, where training is involved and another processor rounds differently).
"""

import json
import math
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minissl.losses import contrastive
from minissl.training import diagnostics
from tests.lectures import reading

ROOT = Path(__file__).parents[2]


class Lecture:
    """One lecture: ``text``, ``figures`` and ``says`` of ``reading``."""

    def __init__(self, number):
        self.text = reading.text(number)
        self.figures = SimpleNamespace(**reading.figures(number))
        self.says = partial(reading.says, number)


@pytest.fixture(scope="module")
def kernels():
    return Lecture("07")


@pytest.fixture(scope="module")
def adaptation():
    return Lecture("11")


@pytest.fixture(scope="module")
def contrast():
    return Lecture("12")


# ---- 07 -----------------------------------------------------------------------------------------


def test_online_softmax_by_hand(kernels):
    scores, values = np.array([1.0, 3.0, 2.0, 5.0]), np.array([10.0, 20.0, 30.0, 40.0])
    first, second = np.exp(scores[:2] - 3), np.exp(scores[2:] - 5)
    r = math.exp(3 - 5)
    total = r * first.sum() + second.sum()
    accumulator = r * (first @ values[:2]) + second @ values[2:]
    weights = np.exp(scores) / np.exp(scores).sum()
    assert accumulator / total == pytest.approx(weights @ values)
    for shown, value in (
        ("0.1353", r),
        ("1.1353", first.sum()),
        ("1.2034", total),
        ("21.353", first @ values[:2]),
        ("44.383", accumulator),
        ("36.881", accumulator / total),
        ("5.1852", 5 + math.log(total)),
        ("62.847", first @ values[:2] + second @ values[2:]),
        ("2.1851", first.sum() + second.sum()),
        ("28.76", (first @ values[:2] + second @ values[2:]) / (first.sum() + second.sum())),
        *zip(("0.0152", "0.1125", "0.0414", "0.8310"), weights),
    ):
        kernels.says(shown, value)
    gradient = weights * (values - weights @ values)
    assert gradient.sum() == pytest.approx(0, abs=1e-12)
    list(map(kernels.says, ("-0.409", "-1.898", "-0.285", "2.592"), gradient))


def test_the_kernels_reference_agrees_with_the_hand(kernels):
    pytest.importorskip("triton")
    reference = pytest.importorskip("minissl_kernels.attention.reference")
    query, key = np.ones((1, 1, 1, 1)), np.array([1.0, 3.0, 2.0, 5.0]).reshape(1, 1, 4, 1)
    value = np.array([10.0, 20.0, 30.0, 40.0]).reshape(1, 1, 4, 1)
    out, lse = reference.forward(query, key, value, 1.0)
    kernels.says("36.881", out.item())
    kernels.says("5.1852", lse.item())
    gradients = reference.backward(np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1)), query, key, value, 1)
    assert gradients.key.ravel().round(3).tolist() == [-0.409, -1.898, -0.285, 2.592]


def test_traffic(kernels):
    naive, tiles, once = kernels.figures.attention_bytes(4096).values()
    operations = 4 * 4096**2 * 64
    for shown, value in (
        ("2.1", once / 1e6),
        ("134.2", 4 * 4096**2 * 2 / 1e6),
        ("34.6", tiles / 1e6),
        ("4.29", operations / 1e9),
        ("31.5", operations / naive),
        ("41", naive / 3.35e12 * 1e6),
        ("4.3", operations / 989e12 * 1e6),
        ("295", 989 / 3.35),
        ("3.2", 8 * 12 * 4096**2 * 2 / 1e9),
        ("64", naive / once),
        ("33.6", 4096**2 * 2 / 1e6),
        ("16", 4096 * 4 / 1024),
    ):
        kernels.says(shown, value)
    naive, _, once = kernels.figures.attention_bytes(256).values()
    values = (naive / 1e6, once / 1e6, 96 * 256**2 * 2 / 1e6, 4 * 256 * 64, 4 * 256**2)
    list(map(kernels.says, ("0.66", "0.13", "12.6", "65,536", "262,144"), values))
    kernels.says("5", naive / once)


def test_cross_entropy_numbers(kernels):
    logits = 8192 * 32000 * 2
    kernels.says("524", logits / 1e6)
    kernels.says("3.15", 6 * logits / 1e9)
    kernels.says("1.57", 3 * logits / 1e9)
    kernels.says("0.47", 3 * logits / 3.35e12 * 1e3)
    kernels.says("131", 2048 * 32000 * 2 / 1e6)
    kernels.says("4.12", math.log1p(2 * math.exp(-20)) * 1e9)
    kernels.says("-19.307", math.log(2) - 20)
    kernels.says("1.9", float(np.spacing(np.float32(20))) * 1e6)
    kernels.says("0.996", 1 - 2**-8)
    assert np.exp(np.float32(-104)) == 0 < np.exp(np.float32(-103))
    kernels.says("3,293,642,752", 65536 * 50257)
    kernels.says("2,147,483,648", 2**31)
    row = np.exp([-5.0, -3.0, -4.0]).sum()
    assert "−2.59" in kernels.text
    assert math.log(row) == pytest.approx(-2.59, abs=0.005)
    kernels.says("0.07", math.log(row + 1))


def test_cancellation(kernels):
    leads = np.array([5.0, 16.0, 20.0])
    difference, margin = kernels.figures.confident_losses(leads).values()
    assert difference[0] > 1e-6
    assert difference[1] > 0.3
    assert difference[2] == 1
    assert margin.max() < 1e-6


def test_tf32(kernels):
    def rounded(x):
        bits = np.asarray(x, np.float32).view(np.uint32)
        bits = (bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)
        return bits.view(np.float32)

    a, b = np.random.default_rng(0).standard_normal((2, 256, 64)).astype(np.float32)
    high, low = (rounded(a), rounded(b)), (rounded(a - rounded(a)), rounded(b - rounded(b)))
    exact = a.astype(float) @ b.astype(float).T

    def error(product):
        return np.abs(product - exact).max() / np.abs(exact).max()

    three = high[0] @ high[1].T + high[0] @ low[1].T + low[0] @ high[1].T
    assert "$3 \\cdot 10^{-4}$" in kernels.text
    assert "$3 \\cdot 10^{-7}$" in kernels.text
    assert error(high[0] @ high[1].T) == pytest.approx(3e-4, rel=0.4)
    assert error(a @ b.T) == pytest.approx(3e-7, rel=0.5)
    assert error(three) < 2 * error(a @ b.T)


def test_causal_tiles(kernels):
    seen = np.tri(1024, dtype=bool).reshape(8, 128, 16, 64)
    kind = seen.any(axis=(1, 3)).astype(int) + seen.all(axis=(1, 3))
    assert np.bincount(kind.ravel()).tolist() == [56, 16, 56]
    assert "56 are full, 16 are at the edge, 56 are skipped" in kernels.text


def compiled():
    """Rows of the kept table for sm_90: (section, launch, kernel) -> cells."""
    rows, section = {}, ""
    for line in (ROOT / "tests" / "kernels" / "compiled.md").read_text("utf-8").splitlines():
        section = line[3:] if line.startswith("## ") else section
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[2] == "sm_90":
            rows[section, cells[0], cells[1]] = cells[3:]
    return rows


def test_what_the_compiler_made_of_it(kernels):
    rows, checked = compiled(), 0
    candidate = "attention bf16 width 128 causal, candidate "
    others = {
        "the same, 128 queries": candidate + "configuration (128, 64, 8, 3, None)",
        "the same, 32 queries": candidate + "key_value_configuration (32, 64, 4, 3, None)",
    }
    table = kernels.text[kernels.text.index("| launch | kernel |") :]
    for row in re.findall(
        r"\| ([^|]*) \| (\w*_kernel|_labels_forward) \| ([^\n]*?) \| (?=\||\*)", table
    ):
        launch, kernel, cells = row
        launch = others.get(launch, launch)
        section = "cross_entropy" if launch.startswith("cross_entropy") else "attention"
        launch = launch.removeprefix("cross_entropy ")
        warps, _, registers, spills, shared, units, _loads, _loops, programs = rows[
            section, launch, kernel
        ]
        assert cells.split(" | ") == [warps, registers, spills, shared, units, programs]
        checked += 1
    assert checked == 8
    assert "16 x 4," in rows["cross_entropy", "bfloat16 32000", "_labels_forward"][6]
    assert "16 x 2," in rows["cross_entropy", "bfloat16 50257", "_labels_forward"][6]


def measured(name):
    """Tables of a kept result of the H200: table -> case -> row."""
    path = ROOT / "benchmarks" / "results" / f"{name}_nvidia_h200.json"
    tables = json.loads(path.read_text("utf-8"))["tables"]
    return {key: {row["case"]: row for row in table["rows"]} for key, table in tables.items()}


def milliseconds(table, case):
    """Contender -> ms. Cases of attention are causal, of 4096 queries."""
    kept = measured("kernels")[table]
    return kept.get(case, kept.get(case.replace(", ", ", causal, 4096, ")))["milliseconds"]


def test_predictions_and_measurements(kernels):
    first = partial(milliseconds, "attention_first_tuning")
    third = partial(milliseconds, "attention_tuning")
    forward, backward = first("width 128, forward"), first("width 128, backward")
    now = third("width 128, backward")
    whole = third("width 128, full, 4096, backward")
    spill_free = "key_value_configuration 32 64 4 3 None"
    bytes_moved = 3 * 8192 * 32000 * 2
    loss = milliseconds("cross_entropy_first", "8192 x 32000 bfloat16")
    for shown, value in (
        ("0.715", forward["configuration 128 128 8 2"]),
        ("0.662", forward["minissl"]),
        ("0.600", forward["configuration 64 64 4 3"]),
        ("2.13", backward["key_value_configuration 64 128 8 2"]),
        ("2.18", backward["minissl"]),
        ("1.97", now[spill_free]),
        ("1.86", now["minissl"]),
        ("4.19", whole[spill_free]),
        ("3.24", whole["minissl"]),
        ("1.06", now[spill_free] / now["minissl"]),
        ("1.29", whole[spill_free] / whole["minissl"]),
        ("0.37", bytes_moved / 4285e9 * 1e3),
        ("0.945", loss["minissl"]),
        ("0.599", third("width 128, forward")["minissl"]),
        ("0.665", third("width 128, forward")["configuration 128 64 8 3 None"]),
        ("68.2", kernels.figures.attention_bytes(4096, block_query=64)[
            "fused, keys from memory for every tile"] / 1e6),
    ):  # fmt: skip
        kernels.says(shown, value)
    path = ROOT / "benchmarks" / "results" / "kernels_nvidia_h200.json"
    yardsticks = [
        table["yardsticks"] for table in json.loads(path.read_text("utf-8"))["tables"].values()
    ]
    for one in yardsticks:
        kernels.says("4,285", one["copy GB/s"], within=2)
    kernels.says("787", min(one["product TFLOP/s"] for one in yardsticks))
    kernels.says("797", max(one["product TFLOP/s"] for one in yardsticks))


def test_loops_of_the_version_that_ran(kernels):
    kept = json.loads((ROOT / "tests/kernels/compiled_3.6.json").read_text("utf-8"))
    causal = "attention bf16 width 128 causal"
    rows = {
        (row["launch"].removeprefix(causal), row["kernel"]): row
        for row in kept
        if row["target"] == "sm_90" and row["launch"].startswith(causal)
    }
    small = rows["", "forward_kernel"]
    large = rows[", candidate configuration (128, 64, 8, 3, None)", "forward_kernel"]
    spilling = rows["", "key_value_kernel"]
    spill_free = rows[
        ", candidate key_value_configuration (32, 64, 4, 3, None)", "key_value_kernel"
    ]
    assert small["warps"] * small["programs"] == large["warps"] * large["programs"] == 8
    assert small["matrix_count"] == large["matrix_count"]
    assert spill_free["spills"] == 0
    for shown, value in (
        ("351", large["loops"][-1]),
        ("358", small["loops"][-1]),
        ("67", spilling["spills"]),
        ("417", spilling["loops"][-1]),
        ("261", spill_free["loops"][-1]),
    ):
        kernels.says(shown, value)


def test_attention_beside_its_peers(kernels):
    columns = kernels.figures.attention_rates()
    rows = re.findall(r"\| (\d+, \w+) ((?:\| \d+ ){4})\|", kernels.text)
    assert [name for name, _ in rows] == ["128, forward", "128, backward", "64, forward",
                                          "64, backward"]  # fmt: skip
    for (_, cells), *rates in zip(rows, *columns.values()):
        assert [int(cell) for cell in cells.split("|")[1:]] == [round(rate) for rate in rates]
    shares = np.divide(columns["now"], columns["cuDNN"])
    kernels.says("0.77", shares.min())
    kernels.says("0.96", shares.max())
    assert (np.array(columns["now"]) > columns["first version"]).all()
    assert (np.array(columns["now"]) > columns["FlashAttention-2"]).all()


def test_losses_and_steps_on_a_gpu(kernels):
    now, first = (
        partial(milliseconds, "cross_entropy"),
        partial(milliseconds, "cross_entropy_first"),
    )
    ours = {}
    for classes, shown, eager, share in (
        (32_000, "0.399", "1.185", "92"),
        (50_257, "0.792", "1.603", "73"),
        (128_256, "1.512", "4.628", "97"),
    ):
        times = now(f"8192 x {classes} bfloat16")
        ours[classes] = times["minissl"]
        kernels.says(shown, times["minissl"])
        kernels.says(eager, times["torch eager"])
        bandwidth = 3 * 8192 * classes * 2 / times["minissl"] / 1e6
        kernels.says(share, 100 * bandwidth / 4285.4)
    narrow, wide = (first(f"8192 x {classes} bfloat16") for classes in (32_000, 128_256))
    norm = partial(milliseconds, "layer_norm")
    linear = measured("kernels")["linear_cross_entropy"]
    both = linear["8192 x 4096 x 32000 bfloat16"]["milliseconds"]
    memory = linear["8192 x 4096 x 128256 bfloat16"]["peak_gigabytes"]
    training = measured("training")
    step = {name: row["cells"] for name, row in training["gpt2"].items()}
    gpt2 = training["gpt2"]
    busy = training["overhead"]["GPT-2 124M"]["cells"]["busy"]
    for shown, value in (
        ("4.0", 128_256 / 32_000),
        ("1.77", wide["minissl"]),
        ("1.768", wide["minissl"]),
        ("1.9", wide["minissl"] / narrow["minissl"]),
        ("3.8", ours[128_256] / ours[32_000]),
        ("0.704", narrow["torch.compile"]),
        ("2.592", wide["torch.compile"]),
        ("0.956", narrow["Liger"]),
        ("2.132", wide["Liger"]),
        ("0.352", norm("16384 x 256 bfloat16")["minissl"]),
        ("0.094", norm("16384 x 256 bfloat16")["torch eager"]),
        ("0.210", norm("16384 x 4096 bfloat16")["minissl"]),
        ("0.341", norm("16384 x 4096 bfloat16")["torch eager"]),
        ("1.22", both["minissl"] / both["its 3 matrix products"]),
        ("10.9", both["minissl"]),
        ("8.9", both["its 3 matrix products"]),
        ("10.2", both["torch eager"]),
        ("3.29", memory["minissl"]),
        ("6.30", memory["torch eager"]),
        ("73.5", gpt2["minissl"]["milliseconds"]),
        ("82.3", gpt2["torch eager"]["milliseconds"]),
        ("14.99", gpt2["minissl"]["peak_gigabytes"]),
        ("29.33", gpt2["torch eager"]["peak_gigabytes"]),
        ("64.6", busy),
        ("12", 100 * (1 - busy / gpt2["minissl"]["milliseconds"])),
    ):
        kernels.says(shown, value)
    assert step["minissl"]["tokens per second"] == "446,020"


def test_what_the_readme_says_of_the_gpu(kernels):
    whole, readme = (
        " ".join((ROOT / name).read_text("utf-8").split())
        for name in ("README.md", "docs/triton_kernels.md")
    )
    told = dict(
        re.findall(r"\| (attention, [^|]*|cross-entropy, [^|]*) \| ([\d.]+ [^|]*) \|", readme)
    )
    rates = kernels.figures.attention_rates()
    for case, *values in zip(
        ("width 128, forward", "width 128, backward", "width 64, forward", "width 64, backward"),
        *rates.values(),
    ):
        assert told[f"attention, {case}"] == f"{values[1]:.0f} TFLOP/s"
        assert f"FlashAttention-2 {values[2]:.0f}, cuDNN {values[3]:.0f} |" in readme
    for classes in (32_000, 50_257, 128_256):
        ours = milliseconds("cross_entropy", f"8192 x {classes} bfloat16")["minissl"]
        assert told[f"cross-entropy, {classes:,} classes"].startswith(f"{ours:.3g} ms, ")
    for name in ("minissl", "torch eager"):
        row = measured("training")["gpt2"][name]
        tokens = row["cells"]["tokens per second"]
        for page in (readme, whole):
            assert tokens in page
            assert f"{row['peak_gigabytes']:.2f} GB" in page
    for row in re.findall(r"\| (?:attention|cross-entropy), [^|]*\|[^|]*\|[^|]*\|", whole):
        for number in re.findall(r"\d[\d.,]+\b", row.partition("|")[2]):
            assert number in readme, row


def test_planted_mistakes_are_counted(kernels):
    pytest.importorskip("triton")
    from tests.kernels import test_planted as planted

    tables = (planted.LAYER_NORM, planted.CROSS_ENTROPY, planted.CONTRASTIVE, planted.ATTENTION)
    kernels.says("26", sum(map(len, tables)))


# ---- 11 -----------------------------------------------------------------------------------------


def test_probe_by_hand(adaptation):
    from minissl.adapt.heads.probe import linear_probe

    for l2, weight, probability in (
        (1.0, "0.337", "0.663"),
        (0.1, "1.064", "0.894"),
        (0.01, "1.957", "0.980"),
        (0.0001, "3.92", "0.9996"),
    ):
        w = linear_probe([[-1.0], [1.0]], [0, 1], l2=l2).weight[0, 1]
        assert w * (1 + math.exp(2 * w)) == pytest.approx(1 / l2, rel=2e-3)
        adaptation.says(weight, w)
        adaptation.says(probability, 1 / (1 + math.exp(-2 * w)))


def test_draws_of_labels(adaptation):
    accuracy = 100 * adaptation.figures.pixel_draws()
    for shown, spread in zip(("5.1", "2.0", "1.1"), accuracy.std(axis=0)[::2]):
        adaptation.says(shown, spread, within=0.1)
    adaptation.says("55", accuracy[:, 0].min(), within=0.6)
    adaptation.says("76", accuracy[:, 0].max(), within=0.6)
    adaptation.says("1.6", accuracy[:, 0].std() / math.sqrt(10), within=0.1)
    adaptation.says("1.2", 100 * math.sqrt(0.9 * 0.1 / 597))
    adaptation.says("0.9", 100 * math.sqrt(0.95 * 0.05 / 597))


def pixel_curve(figures, divisor=1, **settings):
    """Probes on raw pixels, each column divided by ``divisor``."""
    from minissl.adapt.heads.probe import few_label_curve

    digits = figures.load_digits()
    train, test = figures.flat(digits.train_images), figures.flat(digits.test_images)
    return few_label_curve(
        train / divisor, digits.train_labels, test / divisor, digits.test_labels, **settings
    )


def test_one_scale_or_many(adaptation):
    pixels = adaptation.figures.flat(adaptation.figures.load_digits().train_images)
    deviation = pixels.std(axis=0)
    deviation[deviation == 0] = 1
    for divisor, shown in ((1, ("62.9", "86.1", "93.4")), (deviation, ("56.9", "84.0", "92.8"))):
        curve = pixel_curve(adaptation.figures, divisor, labels_per_class=(1, 5, 20))
        for number, point in zip(shown, curve):
            adaptation.says(number, 100 * point.mean, within=0.15)


def test_neighbours_and_counts(adaptation, contrast):
    from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy

    digits = adaptation.figures.load_digits()
    train, test = (adaptation.figures.flat(x) for x in (digits.train_images, digits.test_images))
    for k, shown in ((1, "98.5"), (5, "98.3"), (200, "94.0")):
        accuracy = nearest_neighbor_accuracy(
            train, digits.train_labels, test, digits.test_labels, k=k
        )
        adaptation.says(shown, 100 * accuracy, within=0.2)
    counts = np.bincount(digits.train_labels)
    adaptation.says("592", counts[:5].sum())
    adaptation.says("356", counts[[0, 1, 6]].sum())
    same = np.sum((counts / counts.sum()) ** 2)
    contrast.says("0.1002", same)
    contrast.says("25", 254 * same)


def test_regularisation_and_peeking(adaptation):
    default, strong = (
        100 * pixel_curve(adaptation.figures, labels_per_class=(50,), l2=l2)[0].mean
        for l2 in (0.01, 1.0)
    )
    adaptation.says("4.3", default - strong, within=0.2)
    chosen_on, others = (100 * x for x in adaptation.figures.peeked())
    best = chosen_on.argmax()
    adaptation.says("86.7", chosen_on[best], within=0.1)
    adaptation.says("82.7", others[best], within=0.5)
    adaptation.says("78.7", chosen_on.mean(), within=0.2)
    adaptation.says("80.7", others.mean(), within=0.2)
    adaptation.says("4.1", math.sqrt(2 * math.log(4000)))
    adaptation.says("2.7", math.sqrt(2 * math.log(40)))


def test_lora_by_hand(adaptation):
    from minissl.adapt.efficient.lora import LoRA
    from minissl.nn.layers import Linear

    layer = LoRA(Linear(3, 2, generator=np.random.default_rng(0)), 1, alpha=2.0,
                 generator=np.random.default_rng(0))  # fmt: skip
    layer.down.array[:], layer.up.array[:] = [[1, 0, 2]], [[0.5], [-1]]
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(layer(x).numpy() - layer.inner(x).numpy(), [[3, -6]], atol=1e-6)
    assert layer.update().numpy().tolist() == [[1, 0, 2], [-2, 0, -4]]
    assert "\\begin{pmatrix} 1 & 0 & 2 \\\\ -2 & 0 & -4 \\end{pmatrix}" in adaptation.text
    assert (
        "$B A x = (1.5, -3)^\\top$, and what is added to $W x$ is $(3, -6)^\\top$"
        in adaptation.text
    )


def test_the_weights_of_lora(adaptation):
    from minissl.adapt.efficient.lora import add_lora
    from minissl.models.gpt import GPT
    from minissl.pretrain.language.gpt import GPTSettings

    def counted(where, rank):
        gpt = GPT(GPTSettings().config(2048), generator=np.random.default_rng(0))
        total = sum(p.size for p in gpt.parameters())
        add_lora(gpt, rank, where=where, generator=np.random.default_rng(0))
        return total, sum(p.size for p in gpt.parameters() if p.requires_grad)

    (total, narrow), (_, wide) = counted("", 8), counted("blocks", 2)
    for shown, value in (
        ("675,328", total),
        ("8,192", narrow),
        ("9,216", wide),
        ("1,548", 12 * 128 + 12),
        ("1.4", 100 * (narrow + 1548) / total),
        ("1.6", 100 * (wide + 1548) / total),
    ):
        adaptation.says(shown, value)


def test_docstrings_and_their_packages(adaptation):
    kept = json.loads((ROOT / "lectures/claims/docstring-packages.json").read_text("utf-8"))
    accuracy = {
        row: [cells[column]["mean"] for column in ("all labels", "10 per class")]
        for row, cells in kept["table"].items()
    }
    step = {row: c["CPU ms per step"]["mean"] for row, c in kept["table"].items() if len(c) == 4}
    probe, tuned, scratch = "GPT, probe", "GPT, fine-tuned", "random network, fine-tuned"
    narrow, wide = "GPT, LoRA on queries, values", "GPT, LoRA on every layer"
    for shown, value in (
        ("50.7", accuracy[probe][0]),
        ("56.4", accuracy[wide][0]),
        ("69.9", accuracy[tuned][0]),
        ("66.5", accuracy[scratch][0]),
        ("3.4", accuracy[tuned][0] - accuracy[scratch][0]),
        ("48.1", accuracy[tuned][1]),
        ("41.1", accuracy[scratch][1]),
        ("7.0", accuracy[tuned][1] - accuracy[scratch][1]),
        ("34.0", accuracy[wide][1]),
        ("34.8", accuracy[probe][1]),
        ("77.8", accuracy["tf-idf, logistic regression"][0]),
        ("74.1", accuracy["token counts, probe"][0]),
        ("1.6", accuracy[wide][0] - accuracy[narrow][0]),
        ("92", step[wide]),
        ("80", step[narrow]),
        ("97", step[tuned]),
        ("39", 100 * 2048 * 128 / 675_328),
    ):
        adaptation.says(shown, value)
    held = [one["held"] for one in kept["expectations"]]
    assert (held[0], held[1], held[5]) == (2, 3, 2)  # "one of three seeds", "every", "one against"


def test_batch_norm_example(adaptation):
    from minissl.nn.convolution import BatchNorm

    layer = BatchNorm(1)
    layer.train()
    three = layer(np.array([[1.0], [2.0], [3.0], [6.0]], np.float32)).numpy()[2, 0]
    assert three == pytest.approx(0, abs=1e-6)
    adaptation.says("1.871", np.std([1, 2, 3, 6]))
    shifted = layer(np.array([[3.0], [4.0], [5.0], [8.0]], np.float32)).numpy()[0, 0]
    adaptation.says("−1.069", shifted)


# ---- 12 -----------------------------------------------------------------------------------------

FIRST = np.array([[1.0, 0.0], [0.0, 1.0]])
SECOND = np.array([[0.8, 0.6], [0.6, 0.8]])


def test_losses_by_hand(contrast):
    rows = contrastive.nt_xent(FIRST, SECOND, 0.5, reduction="none").numpy()
    for shown, value in (
        ("0.5981", contrastive.simclr_cs229(FIRST, SECOND, reduction="mean").item()),
        ("1.1963", contrastive.simclr_cs229(FIRST, SECOND).item()),
        ("1.3863", 2 * math.log(2)),
        ("0.6271", rows[0]),
        ("1.1143", rows[2]),
        ("0.8707", rows.mean()),
        ("0.5130", contrastive.info_nce(FIRST, SECOND, temperature=0.5).item()),
        ("9.273", np.exp([1.6, 0, 1.2]).sum()),
        ("15.094", np.exp([1.6, 1.2, 1.92]).sum()),
        ("1.0986", math.log(3)),
    ):
        contrast.says(shown, value)
    p = np.exp([1.6, 0, 1.2]) / np.exp([1.6, 0, 1.2]).sum()
    gradient = (p - [1, 0, 0]) / 0.5
    list(map(contrast.says, ("0.534", "0.108", "0.358"), p))
    list(map(contrast.says, ("-0.932", "0.216", "0.716"), gradient))
    bridge = contrastive.info_nce(FIRST, SECOND, temperature=1, normalize=False).item()
    contrast.says("1.1963", 2 * bridge)


def test_levels_and_floors(contrast):
    for batch, one_way, both in (
        (2, "0.693", "1.099"),
        (64, "4.159", "4.844"),
        (128, "4.852", "5.541"),
        (256, "5.545", "6.236"),
        (512, "6.238", "6.930"),
    ):
        contrast.says(one_way, contrastive.chance_level("info_nce", batch))
        contrast.says(both, contrastive.chance_level("nt_xent", batch))
    contrast.says("6.9305", contrastive.chance_level("nt_xent", 512))
    for temperature, shown in ((1, "5.240"), (0.5, "4.249"), (0.1, "0.023")):
        contrast.says(shown, math.log1p(510 * math.exp(-1 / temperature)))
    contrast.says("0.022", 1 / math.sqrt(2048))
    contrast.says("0.125", 1 / math.sqrt(64))
    contrast.says("12.47", 2 * math.log(511))
    contrast.says("7.14", 0.5 / 0.07)
    contrast.says("3.92", 28 * 0.07 / 0.5)
    contrast.says("5.54", math.log(255))
    contrast.says("17.2", 65536**2 * 4 / 1e9)
    contrast.says("1.5", math.exp(0.4))
    contrast.says("55", math.exp(4))


def test_self_similarity_left_in(contrast):
    views = np.random.default_rng(0).standard_normal((128, 64))

    def wrong(temperature):
        z = np.concatenate([views, views])
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        logits = z @ z.T / temperature
        partner = logits[np.arange(256), (np.arange(256) + 128) % 256]
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - partner)

    assert wrong(0.1) > math.log(2)
    contrast.says("0.03", wrong(0.5) - contrastive.nt_xent(views, views, 0.5).item())


def test_untrained_and_stuck(contrast):
    figures = contrast.figures
    images = figures.load_digits().test_images[:256]
    augment = figures.digits_augmentation()
    untrained = figures.SimCLR.new_model(figures.SimCLRSettings(), seed=0)

    def views(model):
        pair = [model(augment(images, np.random.default_rng(seed))).numpy() for seed in (2, 3)]
        return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in pair]

    first, second = views(untrained)
    cosine = first @ second.T
    contrast.says("0.9985", np.diag(cosine).mean(), within=2e-4)
    contrast.says("0.9982", cosine[~np.eye(256, dtype=bool)].mean(), within=2e-4)
    run, history = figures.trained(figures.WrongPartners, steps=60)  # the lecture's has 150
    losses = history.column("loss")[1]
    contrast.says("5.541", losses[-10:].mean(), within=2e-3)
    assert abs(losses - losses.mean()).max() < 0.01
    assert diagnostics.z_std(views(run.model)[0]) < 0.05
