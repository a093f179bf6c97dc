"""Every kind of reader by name, each with whole files to be damaged."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile

import numpy as np

from minissl.data import Fields
from minissl.data.choices import Choices
from minissl.data.pairs import LabelledTextPairs
from minissl.data.questions import Questions
from minissl.data.sets import load_set
from minissl.data.texts import LabelledTexts, Texts

SIZES = np.arange(8)
PICTURE = (np.indices((8, 8, 3)).sum(axis=0) * 12).astype(np.uint8)


class Reader:
    """Files in a folder, of which one is damaged at a time; ``read`` must say which.

    ``files``: each with its kind, for the damage. ``names``: what else an error may name.
    ``count``: how many damaged files are tried.
    """

    count = 100

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder, self.names = folder, [folder]
        self.files = self.make()
        self.whole = {path: path.read_bytes() for path in self.files}

    def make(self):
        """Write the files; returns the kind of each."""
        raise NotImplementedError

    def read(self):
        """Read them, as a user would."""
        raise NotImplementedError

    def seal(self, path):
        """After the damage: whatever sums there are fit again, as if it had been on purpose."""

    def restore(self):
        """As it was before the damage."""
        for path, data in self.whole.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)

    def write(self, name, data, kind=""):
        """One file, as part of what ``make`` returns."""
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return {path: kind}


# ---- runs ----------------------------------------------------------------------------------------
KEPT = {"tokenizer.json", "vocab.txt", "task.json", "classes.json"}  # whose sums a run has


class Run(Reader):
    """A pretrained run: opened, with its log and what it says of its data."""

    count, method = 500, "gpt"

    def make(self):
        from minissl.pretrain.run import pretrain
        from tests.pretrain.toy import load_method, toy_data, toy_settings

        settings = toy_settings(self.method)
        self.run = self.folder / "run"
        data = toy_data(self.method, settings)
        pretrain(load_method(self.method), data, settings, self.run, progress=False)
        return self.found()

    def found(self):
        checkpoints = sorted((self.run / "checkpoints").iterdir())
        for other in checkpoints[:-1]:
            shutil.rmtree(other)
        kinds = {".json": "json", ".jsonl": "jsonl", ".safetensors": "tensors"}
        files = [path for path in self.run.rglob("*") if path.is_file() and path.name != ".lock"]
        return {path: kinds.get(path.suffix, "") for path in sorted(files)}

    def read(self):
        from minissl.pretrain.run import open_run
        from minissl.training import History

        opened = open_run(self.run)
        opened.read_from()
        opened.read_fields()
        History.read(self.run)

    def seal(self, path):
        checkpoint = next((self.run / "checkpoints").iterdir())
        state = checkpoint / "checkpoint.json"
        if path.parent == self.run and path.name in KEPT:
            kept = json.loads(state.read_bytes())
            kept["config"]["kept"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            state.write_text(json.dumps(kept), encoding="utf-8")
        if path.name != "SHA256SUMS":
            names = [name for name in checkpoint.iterdir() if name.name != "SHA256SUMS"]
            lines = [f"{hashlib.sha256(n.read_bytes()).hexdigest()}  {n.name}\n" for n in names]
            (checkpoint / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


class ImageRun(Run):
    """The same of a method of images."""

    count, method = 100, "simclr"


class EncoderRun(Run):
    """The same of an encoder, which keeps its vocabulary."""

    count, method = 100, "bert"


class Continued(Run):
    """A run that is continued: its folder is held, compared, and read; nothing is trained."""

    count = 300

    def make(self):
        files = super().make()
        shutil.copytree(self.run, self.folder / "whole")
        return files

    def read(self):
        from minissl.pretrain.run import pretrain
        from tests.pretrain.toy import load_method, toy_data, toy_settings

        settings = toy_settings(self.method)
        data = toy_data(self.method, settings)
        pretrain(load_method(self.method), data, settings, self.run, progress=False)

    def restore(self):
        shutil.rmtree(self.run)
        shutil.copytree(self.folder / "whole", self.run)


class Adaptation(Run):
    """What was learned with labels, opened with its run."""

    count, name = 150, "probe"

    def make(self):
        from tests.adapt.toy import adapted, toy_base

        self.run = self.folder / "adaptation"
        adapted(self.name, toy_base("gpt", self.folder / "base"), self.run)
        return self.found()

    def read(self):
        from minissl.adapt.run import open_any

        open_any(self.run)


class FineTuned(Adaptation):
    """The same of a network that was trained as a whole, which needs no other run."""

    count, name = 120, "finetune"


# ---- texts and tables ----------------------------------------------------------------------------


class Plain(Reader):
    """A text."""

    def make(self):
        return self.write("a.txt", "A text – with a few lines,\r\nand a second one.\n\n" * 9)

    def read(self):
        Texts.read(self.folder / "a.txt")


class Table(Reader):
    """Pairs with labels in a .csv."""

    def make(self):
        rows = [
            f'"first {i}, it is","the ""second"" {i}",{"yes" if i % 2 else "no"}' for i in SIZES
        ]
        return self.write("a.csv", "\n".join(["text,second,label", *rows]))

    def read(self):
        LabelledTextPairs.read(next(iter(self.files)))


class Tabs(Table):
    """The same in a .tsv."""

    def make(self):
        rows = [f"first {i}\tsecond {i}\t{'yes' if i % 2 else 'no'}" for i in SIZES]
        return self.write("a.tsv", "\n".join(["text\tsecond\tlabel", *rows]))


class Lines(Reader):
    """Texts with labels in a .jsonl."""

    count = 150

    def make(self):
        rows = [json.dumps({"text": f"It is {i}", "label": int(i % 2)}) for i in SIZES]
        return self.write("a.jsonl", "\n".join(rows) + "\n", "jsonl")

    def read(self):
        for labels in ("class", "number"):
            LabelledTexts.read(self.folder / "a.jsonl", labels=labels)


class Tasks(Reader):
    """Files of tasks as they are published: with a first line, without one, and as objects."""

    count = 150

    def make(self):
        sst = "\n".join(["sentence\tlabel", *(f"so {i}\t{i % 2}" for i in SIZES)])
        cola = "\n".join(f"s{i}\t{i % 2}\t*\tIt is {i}." for i in SIZES)
        sts = "\n".join(f"g\tf\t2012\t{i}\t{i / 2}\tone {i}\ttwo {i}" for i in SIZES)
        keys, labels = ("sentence1", "sentence2", "gold_label"), ("neutral", "-", "entailment")
        snli = [dict(zip(keys, (f"A {i}.", f"B {i}.", labels[i % 3]))) for i in SIZES]
        lines = "\n".join(json.dumps(row) for row in snli)
        files = {"sst-2.tsv": sst, "cola.tsv": cola, "sts-b.csv": sts}
        made = self.write("snli.jsonl", lines, "jsonl")
        for name, text in files.items():
            made |= self.write(name, text)
        return made

    def read(self):
        for path in self.files:
            fields = Fields(layout=path.stem)
            labels = "number" if path.stem == "sts-b" else "class"
            kind = LabelledTexts if path.stem in ("sst-2", "cola") else LabelledTextPairs
            kind.read(path, None, fields, labels=labels)


class TaggedWords(Reader):
    """Sentences with a tag for each word, in both kinds of files."""

    count = 150

    def make(self):
        row = "{}\tword\tword\tNOUN\tNN\tNumber=Sing\t0\troot\t_\t_"
        rows = [f"# sent_id = {i}\n" + "\n".join(map(row.format, (1, "2-3", 2, 3))) for i in SIZES]
        columns = "\n\n".join(f"New NNP B-{i}\nYork NNP I-{i}\n. . O" for i in SIZES)
        return {
            **self.write("a.conllu", "\n\n".join([*rows, ""])),
            **self.write("a.conll", columns),
            **self.write("b.iob", columns.replace(" ", "\t").replace("\n", "\r\n")),
        }

    def read(self):
        from minissl.data.tagged import TaggedTexts

        for path in self.files:
            TaggedTexts.read_examples(path)
            raw = TaggedTexts.read(path)
            assert all(len(one.words) == len(one.tags) > 0 for one in raw.sentences)


class Asking(Reader):
    """Questions in SQuAD's form."""

    count = 150

    def make(self):
        text = "It is 7 and it was \u2013 once \u2013 8, they said."
        asked = [
            {"id": f"q{i}", "question": f"What is it {i}?", "is_impossible": i % 3 == 2,
             "answers": [{"text": "7", "answer_start": 6}] * (i % 3 != 2)}
            for i in SIZES.tolist()
        ]  # fmt: skip
        data = [{"title": "It", "paragraphs": [{"context": text, "qas": asked}]}]
        return self.write("a.json", json.dumps({"version": "2.0", "data": data}), "json")

    def read(self):
        Questions.read(self.folder / "a.json")
        Questions.read_examples(self.folder / "a.json")


class Endings(Reader):
    """Beginnings with endings, in SWAG's form and as objects."""

    def make(self):
        head = ",video-id,startphrase,sent1,sent2,ending0,ending1,ending2,label"
        rows = [f'{i},v,"It is, and",It is,and,"so, {i}.",no.,or {i}.,{i % 3}' for i in SIZES]
        keys = ("text", "ending0", "ending1", "label")
        lines = [json.dumps(dict(zip(keys, (f"It {i}", "so", "no", int(i % 2))))) for i in SIZES]
        return self.write("a.csv", "\n".join([head, *rows])) | self.write(
            "a.jsonl", "\n".join(lines), "jsonl"
        )

    def read(self):
        for path in self.files:
            Choices.read(path)


# ---- images and arrays ---------------------------------------------------------------------------


class Pictures(Reader):
    """An image of each format that is read."""

    count = 650
    suffixes = ("png", "jpg", "gif", "bmp", "ppm", "tif", "webp")

    def make(self):
        from PIL import Image

        files = {}
        for suffix in self.suffixes:
            path = self.folder / f"a.{suffix}"
            Image.fromarray(PICTURE).save(path)
            files[path] = ""
        for name, array in self.others():
            Image.fromarray(array).save(self.folder / name)
            files[self.folder / name] = ""
        return files

    def others(self):
        """Grey of 16 bits, floats, and what is transparent."""
        yield "deep.png", (PICTURE[..., 0].astype(np.uint16) * 257)
        yield "deep.tif", (PICTURE[..., 0].astype(np.uint16) * 257)
        yield "floats.tif", (PICTURE[..., 0] / 255).astype(np.float32)
        yield "clear.png", np.concatenate([PICTURE, PICTURE[..., :1]], axis=-1)

    def read(self):
        from minissl.vision.images import load_image_folder

        load_image_folder(self.folder, size=4)


class Arrays(Reader):
    """Images in a .npy."""

    count = 150

    def make(self):
        file = io.BytesIO()
        np.save(file, PICTURE[None])
        return self.write("a.npy", file.getvalue(), "npy")

    def read(self):
        from minissl.data.images import ImageOptions, Images

        Images.read(next(iter(self.files)), ImageOptions(image_size=8, channels=3))


class Archive(Reader):
    """Images with labels in a .npz."""

    count = 250

    def make(self):
        file = io.BytesIO()
        images, names = np.stack([PICTURE, 255 - PICTURE]), np.array(["a", "b"])
        np.savez_compressed(file, images=images, labels=np.arange(2), class_names=names)
        return self.write("a.npz", file.getvalue(), "npz")

    def read(self):
        from minissl.data.images import ImageOptions, LabelledImages

        options = ImageOptions(image_size=8, channels=3)
        LabelledImages.read(self.folder / "a.npz", options)


# ---- data sets as they are published -------------------------------------------------------------


class Published(Reader):
    """The published files of a data set."""

    count, dataset = 60, "mnist"

    def make(self):
        import gzip

        files = {}
        for part, count in (("train", 3), ("t10k", 2)):
            head = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 4])
            images = gzip.compress(head + bytes(16 * count))
            labels = gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes(range(count)))
            files |= self.write(f"{part}-images-idx3-ubyte.gz", images)
            files |= self.write(f"{part}-labels-idx1-ubyte.gz", labels)
        return files

    def read(self):
        target = self.folder / "target"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        load_set(self.dataset).unpack({path.name: path for path in self.files}, target)


class Tar(Published):
    """An archive of CIFAR-10's form."""

    dataset = "cifar10"

    def make(self):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
                about = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                about.size = 3073
                archive.addfile(about, io.BytesIO(bytes([3]) + bytes(3072)))
        return self.write("cifar-10-binary.tar.gz", file.getvalue())


class Zip(Published):
    """An archive of SST-2's form."""

    dataset = "sst2"

    def make(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for part in ("train", "dev"):
                archive.writestr(f"SST-2/{part}.tsv", "sentence\tlabel\nso good\t1\nbad \t0\n")
            archive.writestr("SST-2/test.tsv", "index\tsentence\n0\tso so\n")
        return self.write("SST-2.zip", file.getvalue())


# ---- claims --------------------------------------------------------------------------------------


class Drawing:
    """A figure that takes no time."""

    def __init__(self, measured, settings):
        self.paths = [run.curves["path"] for run in measured]

    def savefig(self, file, **_):
        file.write(b"<svg/>")


class Claim(Reader):
    """A claim's result, judged and drawn once more; and goes on where it was stopped."""

    count = 300

    def make(self):
        from dataclasses import replace

        from tests.claims.toy import TOY

        self.claim = replace(TOY, figure=Drawing)
        self.read_on()
        data = (self.folder / "toy.json").read_bytes()
        return {self.folder / "toy.json": "json"} | self.write("toy.json.unfinished", data, "json")

    def read_on(self):
        from minissl.claims.run import run_claim

        run_claim(self.claim, self.folder, seeds=[0, 1], progress=False)

    def read(self):
        from minissl.claims.report import to_markdown
        from minissl.claims.run import redraw_claim

        to_markdown(redraw_claim(self.claim, self.folder))
        self.read_on()


# ---- tokenizers and published weights ------------------------------------------------------------


class Tokenizers(Reader):
    """A tokenizer in each of the forms that are read."""

    count = 300

    def make(self):
        from minissl.text import Tokenizer, save_huggingface, save_tokenizer
        from minissl.text.formats import to_printable

        tokenizer = Tokenizer.train("low lower lowest, the newest is the widest " * 20, 270)
        ranks = {to_printable(token): rank for token, rank in tokenizer.ranks.items()}
        merges = [" ".join(map(to_printable, pair)) for pair in tokenizer.merges()]
        save_tokenizer(tokenizer, self.folder / "own.json")
        save_huggingface(tokenizer, self.folder / "tokenizer.json")
        lines = b"".join(
            _base64(token) + b" %d\n" % rank for token, rank in tokenizer.ranks.items()
        )
        return {
            self.folder / "own.json": "json",
            **self.write("encoder.json", json.dumps(ranks), "json"),
            **self.write("vocab.bpe", "\n".join(["#version: 0.2", *merges, ""])),
            **self.write("a.tiktoken", lines),
            self.folder / "tokenizer.json": "json",
            **self.write("vocab.txt", "[PAD]\n[UNK]\nthe\nlow\n##er\n##est\nn\nw\n"),
        }

    def read(self):
        from minissl.text import (
            load_gpt2_tokenizer,
            load_huggingface,
            load_tiktoken,
            load_tokenizer,
        )
        from minissl.text.wordpiece import WordPiece

        load_tokenizer(self.folder / "own.json")
        load_gpt2_tokenizer(
            self.folder / "vocab.bpe", self.folder / "encoder.json", special_tokens=()
        )
        load_tiktoken(self.folder / "a.tiktoken", pattern="gpt2")
        load_huggingface(self.folder / "tokenizer.json")
        WordPiece.read(self.folder / "vocab.txt")


class Words(Reader):
    """A vocabulary of words with their counts."""

    count = 200

    def make(self):
        from minissl.text import WordVocabulary

        vocabulary = WordVocabulary.train("the cat and the dog, the café's dog " * 9 + "rare")
        vocabulary.write(self.folder / "words.txt")
        return {self.folder / "words.txt": ""}

    def read(self):
        from minissl.text import WordVocabulary

        WordVocabulary.read(self.folder / "words.txt")


def _base64(token):
    import base64

    return base64.b64encode(token)


class Weights(Reader):
    """GPT-2 as it is published."""

    count = 200

    def make(self):
        from minissl.models.gpt import GPT, GPTConfig
        from minissl.models.published import save_gpt2

        config = GPTConfig(vocab_size=11, context_length=5, num_layers=1, width=8, num_heads=2)
        save_gpt2(GPT(config, generator=np.random.default_rng(0)), self.folder)
        return {
            self.folder / "config.json": "json",
            self.folder / "model.safetensors": "tensors",
        }

    def read(self):
        from minissl.models.published import load_gpt2

        load_gpt2(self.folder)


class Encoders(Weights):
    """BERT as it is published, with all of its heads."""

    count = 150

    def make(self):
        from minissl.models.encoder import EncoderConfig, MaskedEncoder
        from minissl.models.published_bert import save_bert

        config = EncoderConfig(vocab_size=11, context_length=5, num_layers=1, width=8, num_heads=2)
        model = MaskedEncoder(config, next_sentence=True, generator=np.random.default_rng(0))
        save_bert(model, self.folder)
        return {
            self.folder / "config.json": "json",
            self.folder / "model.safetensors": "tensors",
        }

    def read(self):
        from minissl.models.published_bert import load_bert

        load_bert(self.folder)


class PublishedRun(Reader):
    """A sentence encoder as it is published, opened as a run is, its tokenizer in JSON."""

    count = 200

    def make(self):
        from tests.pretrain.published import as_sentence_encoder, write_bert, write_json

        write_bert(self.folder, heads=("words", "pooler", "follows"))
        as_sentence_encoder(self.folder)
        write_json(self.folder)
        kinds = {".json": "json", ".safetensors": "tensors"}
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path: kinds.get(path.suffix, "") for path in files}

    def read(self):
        from minissl.pretrain.run import open_run
        from minissl.training.opening import weights_of

        opened = open_run(self.folder)
        weights_of(opened.checkpoint, opened.name)
        opened.method.represent([opened.data.tokens("the cat")])


class PublishedGPT(PublishedRun):
    """GPT-2 as it is published, the same."""

    count = 150

    def make(self):
        from tests.pretrain.published import write_gpt2

        write_gpt2(self.folder)
        files = ("config.json", "tokenizer.json", "model.safetensors")
        return {self.folder / n: "tensors" if "safe" in n else "json" for n in files}


class PublishedVocabulary(PublishedRun):
    """A sentence encoder whose tokenizer is its vocabulary."""

    count = 120

    def make(self):
        from tests.pretrain.published import write_bert

        write_bert(self.folder)
        files = ("vocab.txt", "tokenizer_config.json")
        return {self.folder / name: "json" if "json" in name else "" for name in files}


# ---- word vectors --------------------------------------------------------------------------------


class Vectors(Reader):
    """Word vectors in each format."""

    count = 400

    def make(self):
        from minissl.data.vector_files import SUFFIXES, write_vectors
        from minissl.data.vectors import WordVectors

        draw = np.random.default_rng(0)
        vectors = WordVectors([f"wörd{i}" for i in range(30)], draw.standard_normal((30, 5)))
        self.paths = [self.folder / f"a{suffix}" for suffix in SUFFIXES]
        for path in self.paths:
            write_vectors(vectors, path)
        return dict.fromkeys(self.paths, "")

    def read(self):
        from minissl.data.vector_files import read_vectors

        for path in self.paths:
            vectors = read_vectors(path)
            assert np.isfinite(vectors.matrix).all()
            assert all(vectors.words)


class Pairs(Reader):
    """Pairs of words with scores, and analogy questions."""

    count = 150

    def make(self):
        rows = [f"word{i}\tother{i}\t{i / 2}" for i in SIZES]
        questions = [f"a{i} b{i} c{i} d{i}" for i in SIZES]
        return {
            **self.write("a.tsv", "\n".join(["word 1\tword 2\tscore", *rows, ""])),
            **self.write("a.csv", "\n".join(rows).replace("\t", ",")),
            **self.write("q.txt", "\n".join([": family", *questions, ": gram1", *questions])),
        }

    def read(self):
        from minissl.data.word_tests import AnalogyQuestions, WordPairs

        for name in ("a.tsv", "a.csv"):
            assert np.isfinite(WordPairs.read(self.folder / name).scores).all()
        AnalogyQuestions.read(self.folder / "q.txt")


class Cloze(Reader):
    """Pairs of a prompt and two answers."""

    count = 150

    def make(self):
        from minissl.data.cloze import small_zoo, to_tsv

        text = to_tsv(small_zoo(4))
        return {**self.write("a.tsv", text), **self.write("b.tsv", text.replace("\n", "\r\n"))}

    def read(self):
        from minissl.data.cloze import read_pairs

        for name in ("a.tsv", "b.tsv"):
            assert all(pair.right != pair.wrong for pair in read_pairs(self.folder / name))


class Gradebooks(Reader):
    """What a learning platform exports: its table of points."""

    count = 150

    def make(self):
        canvas = [f'"Doe, J{i}",{i},u{i},Sec,{i}' for i in SIZES]
        moodle = [f"Participant {i};J{i} Doe;-;100;Yes;-;" for i in SIZES]
        head = "Identifier;Full name;Grade;Maximum Grade;Grade can be changed;"
        more = f"{head}Last modified (grade);Feedback comments"
        names = "Student,ID,SIS Login ID,Section,Homework 1 (7)"
        return self.write("canvas.csv", "\n".join([names, *canvas])) | self.write(
            "moodle.csv", "\ufeff" + "\r\n".join([more, *moodle])
        )

    def read(self):
        from minissl.homework.gradebook import read_gradebook

        graded = [
            {"submission": name.format(i), "score": "9", "comment": ""}
            for i in SIZES
            for name in ("doej{0}_{0}_5_hw1.py", "J{0} Doe_{0}_assignsubmission_file_hw1.py")
        ]
        for path in self.files:
            read_gradebook(path, 1).filled(graded)


READERS = {
    "run": Run, "image-run": ImageRun, "continued": Continued, "adaptation": Adaptation,
    "fine-tuned": FineTuned, "text": Plain, "csv": Table, "tsv": Tabs, "jsonl": Lines,
    "tasks": Tasks, "tagged": TaggedWords, "questions": Asking, "choices": Endings,
    "images": Pictures, "npy": Arrays, "npz": Archive, "idx": Published, "tar": Tar, "zip": Zip,
    "claim": Claim, "tokenizers": Tokenizers, "words": Words, "weights": Weights,
    "encoders": Encoders, "published-run": PublishedRun, "published-gpt": PublishedGPT,
    "published-vocabulary": PublishedVocabulary, "encoder-run": EncoderRun, "vectors": Vectors,
    "word-tests": Pairs, "cloze": Cloze, "gradebooks": Gradebooks,
}  # fmt: skip
