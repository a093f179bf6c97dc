"""Data sets by name: sums, names, and the published formats on small files made here."""

import gzip
import hashlib
import io
import json
import re
import struct
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from minissl.data.sets import DataSet, about, find, load_set, set_names
from minissl.data.sets import _images as images_form
from minissl.text.corpora import python_english
from tests.shared_data import shared_data

FETCHED = [name for name in set_names() if load_set(name).files]
EMBEDDED = [name for name in set_names() if not load_set(name).files]
LENGTH = {"md5": 32, "sha256": 64}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nobody's real cache is looked at."""
    monkeypatch.setenv("MINISSL_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


# ---- what each file says -------------------------------------------------------------------------


def test_the_sets_are_these():
    assert set(FETCHED) == {
        "cifar10", "fashion-mnist", "mnist", "sst2", "stl10", "tiny-shakespeare", "wikitext-2",
    }  # fmt: skip
    assert set(EMBEDDED) == {
        "digits", "python-docstrings", "python-english", "small-world", "small-world-reviews",
    }  # fmt: skip


@pytest.mark.parametrize("name", set_names())
def test_a_set_says_what_it_is(name):
    one = load_set(name)
    assert one.name == name
    assert one.about == about(name) != ""
    assert one.licence
    assert one.source
    assert one.kinds
    assert set(one.kinds) <= {"texts", "labelled texts", "images", "labelled images"}
    assert (one.embedded is None) == bool(one.files) == bool(one.unpack) == bool(one.parts)


@pytest.mark.parametrize("name", FETCHED)
def test_sums_have_their_form_and_no_two_files_share_one(name):
    one = load_set(name)
    for file in one.files:
        algorithm, _, digits = file.checksum.partition(":")
        assert re.fullmatch(r"[0-9a-f]+", digits)
        assert len(digits) == LENGTH[algorithm]
        assert re.fullmatch(r"https?://[^ ]+/[A-Za-z0-9._-]+", file.url)
        assert file.size > 0
    assert len({file.checksum for file in one.files}) == len(one.files)
    assert len({file.name for file in one.files}) == len(one.files)


# ---- find ----------------------------------------------------------------------------------------


def put(name, part):
    """As if all parts had been fetched; the path of one."""
    one = load_set(name)
    one.folder().mkdir(parents=True)
    for file in one.parts.values():
        (one.folder() / file).write_bytes(b"something")
    return one.folder() / one.parts[part]


def test_what_exists_is_found_as_it_is_also_under_the_name_of_a_set(tmp_path):
    put("mnist", "train")
    Path("digits").mkdir()
    Path("mnist").write_text("mine", encoding="utf-8")
    for path in (Path("digits"), Path("mnist"), tmp_path, Path()):
        assert find(path) is path


def test_a_fetched_set_is_the_file_of_a_part(own_cache):
    train = put("mnist", "train")
    assert find(Path("mnist")) == find(Path("mnist/train")) == train
    assert find(Path("mnist/test")) == own_cache / "mnist" / "test.npz"
    put("stl10", "train")
    assert find(Path("stl10")).name == "unlabeled.npy"


def test_an_embedded_set_is_itself():
    assert isinstance(find(Path("digits")), DataSet)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mnist", ["mnist is not on this computer yet", "`minissl data get mnist`", "12 MB",
                   "licence"]),
        ("mnist/test", ["`minissl data get mnist`"]),
        ("mnist/valid", ["no part 'valid'", "mnist/train, mnist/test"]),
        ("digits/test", ["digits needs no download"]),
        ("minst", ["no data set; did you mean mnist?", "cifar10", "path"]),
        ("Tiny_Shakespeare", ["did you mean tiny-shakespeare?"]),
        ("MNIST", ["did you mean mnist?"]),
        ("photos/", ["'photos' is no file, no folder and no data set. The data sets are"]),
        ("/nowhere/mnist", ["'/nowhere/mnist' is no file"]),
        ("mnist/test/more", ["is no file"]),
    ],
)  # fmt: skip
def test_what_cannot_be_found_is_told(path, words):
    with pytest.raises(FileNotFoundError) as caught:
        find(Path(path))
    for word in words:
        assert word in str(caught.value)


def test_a_set_of_which_a_part_is_gone_is_not_here():
    put("mnist", "test").unlink()
    with pytest.raises(FileNotFoundError, match="data get mnist"):
        find(Path("mnist"))


# ---- what comes with Python ----------------------------------------------------------------------


def test_digits_in_the_order_of_the_lectures():
    from sklearn.datasets import load_digits

    folder = load_set("digits").load()
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(1797)
    np.testing.assert_array_equal(folder.images.reshape(1797, 64) * 16, pixels[order])
    np.testing.assert_array_equal(folder.labels, labels[order])
    assert folder.class_names == tuple("0123456789")


@pytest.fixture(scope="module")
def docstrings():
    return load_set("python-docstrings").load()


def test_docstrings_are_labelled_balanced_and_do_not_name_their_package(docstrings):
    labels = [document.source for document in docstrings]
    counts = {label: labels.count(label) for label in labels}
    assert len(counts) == 12
    assert max(counts.values()) == 80
    assert min(counts.values()) > 40  # all 80 with Python 3.11
    for document in docstrings:
        assert document.source not in document.text.lower()
        assert len(document.text.split()) >= 5
    assert len({document.text for document in docstrings}) == len(docstrings)
    hashes = [hashlib.sha256(document.text.encode()).digest() for document in docstrings]
    assert hashes == sorted(hashes)  # the same order everywhere


def test_docstrings_are_neither_hopeless_nor_easy(docstrings):
    """Logistic regression of scikit-learn on tf-idf, a third held out: 77 % with Python 3.11."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    order = np.random.default_rng(0).permutation(len(docstrings))
    texts = [docstrings[i].text for i in order]
    labels = [docstrings[i].source for i in order]
    cut = len(texts) // 3
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10))
    accuracy = model.fit(texts[cut:], labels[cut:]).score(texts[:cut], labels[:cut])
    assert 0.6 < accuracy < 0.9


def test_python_english_is_documents():
    first, again = load_set("python-english").load(), load_set("python-english").load()
    assert first == again == python_english()
    assert first is not again, "a list that is changed does not change the next one"


def test_the_small_world_has_texts_of_seven_kinds_and_labelled_reviews():
    texts, reviews = load_set("small-world").load(), load_set("small-world-reviews").load()
    assert len(texts) == 20_000
    assert len({document.source for document in texts}) == 7
    assert Counter(document.source for document in reviews) == {"good": 300, "bad": 300}


# ---- the published formats -----------------------------------------------------------------------


def idx(array):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes())


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def unpack(name, folder, **changed):
    """Lay the published files down as ``changed`` has them, by the last part of their address."""
    one = load_set(name)
    files = {}
    for number, file in enumerate(one.files):
        files[file.name] = folder / file.name
        files[file.name].write_bytes(changed["files"][number])
    out = folder / "out"
    out.mkdir()
    one.unpack(files, out)
    assert {path.name for path in out.iterdir()} == set(one.parts.values())
    return out


def loaded(path):
    with np.load(path, allow_pickle=False) as file:
        return file["images"], file["labels"], file["class_names"].tolist()


def words_only(value):
    """Ids of tests: packed bytes hold the time, and each worker would have its own."""
    return value if isinstance(value, str) else "data"


def noise(*shape, most=256):
    return np.random.default_rng(0).integers(most, size=shape, dtype=np.uint8)


IDX = [noise(5, 28, 28), noise(5, most=10), noise(3, 28, 28), noise(3, most=10)]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_becomes_npz(name, tmp_path):
    out = unpack(name, tmp_path, files=[idx(array) for array in IDX])
    for part, (pixels, numbers) in {"train": IDX[:2], "test": IDX[2:]}.items():
        images, labels, names = loaded(out / f"{part}.npz")
        np.testing.assert_array_equal(images[..., 0], pixels)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(labels, numbers)
        assert names[0] == ("0" if name == "mnist" else "T-shirt/top")
        assert len(names) == 10


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"<html>", "damaged"),
        (gzip.compress(b"<html>"), "begins with 3c 68 74 6d"),
        (gzip.compress(b""), "begins with nothing"),
        (idx(IDX[0])[:-2000], "damaged"),
        (gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 5, 28, 28) + bytes(7)), "only 7"),
        (gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 1, 28, 28) + bytes(999)), "more"),
        (gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28)), "expected at most"),
        (gzip.compress(struct.pack(">BBBB3f", 0, 0, 13, 3, 1, 1, 1)), "00 00 0d 03"),
        (idx(noise(4, 28, 28)), "4 images with 5 labels"),
    ],
    ids=words_only,
)
def test_a_bad_idx_file_is_named(wrong, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        unpack("mnist", tmp_path, files=[wrong, *map(idx, IDX[1:])])
    assert "train-images-idx3-ubyte.gz" in str(caught.value)


def test_a_label_that_has_no_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"t10k-labels.*labels from 10 to 10, expected 0 to 9"):
        unpack("mnist", tmp_path, files=[*map(idx, IDX[:3]), idx(np.full(3, 10, np.uint8))])


def test_the_real_mnist(tmp_path):
    folder = shared_data("images/mnist")
    files = {name: folder / name for name in images_form.IDX_NAMES}
    load_set("mnist").unpack(files, tmp_path)
    images, labels, _ = loaded(tmp_path / "train.npz")
    assert images.shape == (60_000, 28, 28, 1)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
    images, labels, _ = loaded(tmp_path / "test.npz")
    assert images.shape == (10_000, 28, 28, 1)
    assert labels[:3].tolist() == [7, 2, 1]


def cifar(count):
    """The batches as they are published, and the images (batches, count, 32, 32, 3)."""
    images, labels = noise(6, count, 32, 32, 3), noise(6, count, most=10)
    batches = []
    for own, numbers in zip(images, labels):
        rows = [
            bytes([number]) + b"".join(image[:, :, colour].tobytes() for colour in range(3))
            for image, number in zip(own, numbers)
        ]
        batches.append(b"".join(rows))
    names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    members = {f"cifar-10-batches-bin/{n}": data for n, data in zip(names, batches)}
    return {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", **members}, images, labels


def test_cifar10(tmp_path):
    members, images, labels = cifar(2)
    shuffled = dict(sorted(members.items(), reverse=True))
    out = unpack("cifar10", tmp_path, files=[tar(shuffled)])
    got, numbers, names = loaded(out / "train.npz")
    np.testing.assert_array_equal(got, images[:5].reshape(10, 32, 32, 3))
    np.testing.assert_array_equal(numbers, labels[:5].reshape(10))
    assert names[6] == "frog"
    np.testing.assert_array_equal(loaded(out / "test.npz")[0], images[5])


def stl():
    def published(images):  # columns first, one colour after the other
        return b"".join(image[:, :, colour].T.tobytes() for image in images for colour in range(3))

    images = {"unlabeled": noise(3, 96, 96, 3), "train": noise(2, 96, 96, 3) ^ 1,
              "test": noise(1, 96, 96, 3) ^ 2}  # fmt: skip
    names = "airplane bird car cat deer dog horse monkey ship truck"
    members = {f"stl10_binary/{part}_X.bin": published(own) for part, own in images.items()}
    members["stl10_binary/train_y.bin"] = bytes([10, 1])
    members["stl10_binary/test_y.bin"] = bytes([2])
    members["stl10_binary/class_names.txt"] = names.replace(" ", "\n").encode()
    members["stl10_binary/fold_indices.txt"] = b"0 1\n"
    return members, images


def test_stl10(tmp_path, monkeypatch):
    monkeypatch.setattr("minissl.data.sets.stl10.AT_ONCE", 2)  # a whole block and a rest
    members, images = stl()
    out = unpack("stl10", tmp_path, files=[tar(members)])
    np.testing.assert_array_equal(
        np.load(out / "unlabeled.npy", allow_pickle=False), images["unlabeled"]
    )
    got, labels, names = loaded(out / "train.npz")
    np.testing.assert_array_equal(got, images["train"])
    assert [names[label] for label in labels] == ["truck", "airplane"]
    got, labels, names = loaded(out / "test.npz")
    np.testing.assert_array_equal(got, images["test"])
    assert [names[label] for label in labels] == ["bird"]


def forged(place, new):
    """A zip with other bytes at a place of its central directory: 8 is the flags, 24 the size."""
    data = bytearray(zipped({"a/wiki.train.raw": b"x"}))
    begin = data.rindex(b"PK\x01\x02") + place
    data[begin : begin + len(new)] = new
    return bytes(data)


def test_wikitext_byte_for_byte(tmp_path):
    texts = {
        part: f" = {part} = \r\n caf\xe9 @-@ \n".encode() for part in ("train", "valid", "test")
    }
    archive = zipped({f"wikitext-2-raw/wiki.{part}.raw": text for part, text in texts.items()})
    out = unpack("wikitext-2", tmp_path, files=[archive])
    for part, text in texts.items():
        assert (out / f"{part}.txt").read_bytes() == text


def glue(**changed):
    tables = {
        "train": b'sentence\tlabel\nhide "new secretions \t0\ncaf\xc3\xa9 \t1\n',
        "dev": b"sentence\tlabel\nit 's charming \t1\n",
        "test": b"index\tsentence\n0\tuneasy mishmash .\n",
        **changed,
    }
    return zipped({f"SST-2/{name}.tsv": data for name, data in tables.items()})


def test_sst2(tmp_path):
    out = unpack("sst2", tmp_path, files=[glue()])
    rows = {p: [json.loads(line) for line in (out / f"{p}.jsonl").read_text("utf-8").splitlines()]
            for p in ("train", "dev", "test")}  # fmt: skip
    assert rows["train"] == [{"text": 'hide "new secretions', "label": "negative"},
                             {"text": "café", "label": "positive"}]  # fmt: skip
    assert rows["dev"] == [{"text": "it 's charming", "label": "positive"}]
    assert rows["test"] == [{"text": "uneasy mishmash ."}]


def test_tiny_shakespeare(tmp_path):
    out = unpack("tiny-shakespeare", tmp_path, files=[b"First Citizen:\r\n"])
    assert (out / "tiny-shakespeare.txt").read_bytes() == b"First Citizen:\r\n"


MEMBERS = cifar(1)[0]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("cifar10", b"<html>", "damaged"),
        ("cifar10", tar(MEMBERS)[:9000], "damaged"),
        ("stl10", tar(stl()[0])[:9000], "damaged"),
        ("cifar10", tar({n: d for n, d in MEMBERS.items() if "h_3" not in n}),
         "lacks data_batch_3.bin"),
        ("cifar10", tar({**MEMBERS, "x/test_batch.bin": bytes(3074)}), "test_batch.bin has 3,074"),
        ("cifar10", tar({**MEMBERS, "x/test_batch.bin": b"\x0b" + bytes(3072)}),
         "labels from 11 to 11"),
        ("cifar10", tar({**MEMBERS, "x/test_batch.bin": bytes(10_001 * 3073)}), "expected 1 to"),
        ("stl10", tar({**stl()[0], "stl10_binary/train_y.bin": b"\x01"}), "2 images with 1 labels"),
        ("stl10", tar({**stl()[0], "stl10_binary/train_y.bin": b"\x00\x01"}), "from -1 to 0"),
        ("stl10", tar({"unlabeled_X.bin": bytes(27_648)}), "lacks train_X.bin"),
        ("wikitext-2", b"PK\x03\x04 and no more", "damaged"),
        ("wikitext-2", zipped({"a/wiki.test.raw": b""}), "0 files named wiki.train.raw"),
        ("wikitext-2", zipped({"a/wiki.train.raw": b"", "b/wiki.train.raw": b""}), "2 files"),
        ("wikitext-2", forged(24, struct.pack("<I", 2**32 - 2)), "expected at most 50,000,000"),
        ("wikitext-2", forged(8, b"\x01"), "and a password"),
        ("wikitext-2", forged(10, b"\x63"), "damaged"),  # packed by a method that nobody knows
        ("sst2", glue(train=b"text,label\n"), "train.tsv begins with 'text,label'"),
        ("sst2", glue(dev=b"sentence\tlabel\ngood\t1\nbad\t2\n"), "dev.tsv, line 3: 'bad\\t2'"),
        ("sst2", glue(dev=b"sentence\tlabel\ngood\n"), "dev.tsv, line 2"),
        ("sst2", glue(test=b"index\tsentence\n0\t\xff\n"), "test.tsv is no UTF-8"),
    ],
    ids=words_only,
)  # fmt: skip
def test_a_bad_archive_is_named(name, data, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        unpack(name, tmp_path, files=[data])
    assert load_set(name).files[0].name in str(caught.value)


def test_members_never_decide_where_something_is_written(tmp_path):
    members, images, _ = cifar(1)
    evil = {f"../../{name}": data for name, data in members.items()} | {"/tmp/evil.txt": b"x"}
    before = {*tmp_path.iterdir()}
    out = unpack("cifar10", tmp_path, files=[tar(evil)])
    np.testing.assert_array_equal(loaded(out / "test.npz")[0], images[5])
    assert {*tmp_path.iterdir()} - before == {out, tmp_path / "cifar-10-binary.tar.gz"}


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(3073))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in cifar(1)[0].items():
            member = tarfile.TarInfo(name)
            if "test_batch" in name:
                member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
                archive.addfile(member)
                continue
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(ValueError, match=r"lacks test_batch.bin"):
        unpack("cifar10", tmp_path, files=[buffer.getvalue()])
