"""a vector for every image or text, or for each word of a text, from a pretrained model"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minissl.cli._shared import (
    DATA_HELP,
    add_base,
    add_device,
    add_fields,
    add_run_and_data,
    fields_from,
    methods_with,
    other_than,
    path,
    reader_of,
    tell_what_is_not_read,
    tell_what_was_fitted,
)

VECTORS = ("mean", "first", "last")  # of pretrain.layered, which is not imported for --help

DESCRIPTION = """\
Writes what the model of a run makes of each example: an .npz file with `features` (examples, width)
in float32 and `names` (examples,), in the order of the names. Texts longer than the model's context
are cut at its end. With --each every piece of a text has its vector, which depends on what stands
around it: `features` (pieces, width), `pieces` (pieces,), and `text` (pieces,), the number of each
one's text among the `names`. A text is represented by the mean of its pieces' last states, or with
--vector by the first ([CLS] of BERT and its kin) or the last one; --layers writes all layers,
`features` (examples, layers, width), the first what is embedded. numpy.load reads the file without
pickle."""
EXAMPLES = """\
examples:
  minissl embed runs/photos photos/ --out photos.npz
  minissl embed runs/book notes.txt --out notes.npz
  minissl embed runs/elmo sentences.csv --each --out words.npz
  minissl embed runs/bert sentences.csv --vector first --out cls.npz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, f"{DATA_HELP} (default: what every machine has)")
    parser.add_argument(
        "--out", type=path, default=Path("embeddings.npz"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--each", action="store_true",
        help="a vector for each word or token of a text, where the method reads these",
    )  # fmt: skip
    parser.add_argument(
        "--vector", choices=VECTORS,
        help="what represents a text: the mean of its pieces, the first, the last (default: mean)",
    )  # fmt: skip
    parser.add_argument("--layers", action="store_true", help="of all layers, not of the last")
    add_base(parser)
    add_fields(parser, of_run=True)
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, represent, write."""
    import io

    import numpy as np

    from minissl.adapt.run import open_any
    from minissl.durable import make_parents, replace_durably

    if arguments.out.suffix != ".npz":
        raise ValueError(f"--out {arguments.out}: expected a name that ends with .npz")
    other_than(arguments.out, arguments.data)
    opened = open_any(arguments.folder, arguments.base)
    fields = fields_from(arguments, opened.read_fields())
    if arguments.each and (arguments.vector or arguments.layers):
        raise ValueError(
            f"--{'vector' if arguments.vector else 'layers'} says what represents a whole text, "
            "and with --each every piece has its vector: leave one out"
        )
    if arguments.each or arguments.vector or arguments.layers:
        _require_pieces(opened)
    if arguments.vector:
        reader_of(opened.method).vector = arguments.vector
    raw = opened.read_examples(arguments.data, fields)
    examples = opened.data.examples(raw)
    make_parents(arguments.out)
    opened.method.to(arguments.device)
    arrays = {"names": np.array(examples.names, dtype=np.str_)}
    tell_what_was_fitted(raw)
    tell_what_is_not_read(reader_of(opened.method), opened.data, *examples)
    if arguments.each:
        arrays |= _each(opened, raw, examples.inputs)
    elif arguments.layers:
        method = reader_of(opened.method)
        arrays["features"] = method.represent_layers(examples.inputs, progress="features")
    else:
        found = opened.method.represent(examples.inputs, progress="features")
        arrays["features"] = found
    arrays["features"] = np.asarray(arrays["features"], np.float32)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    replace_durably(arguments.out, file.getvalue())
    features = arrays["features"]
    of = f" of {features.shape[1]} layers" if features.ndim == 3 else ""
    print(f"{arguments.out}: {len(features):,} vectors{of} of {features.shape[-1]} numbers")


def _require_pieces(opened: Any) -> None:
    """Raise ValueError for a run whose method has no vector for a piece of an example."""
    from minissl.pretrain.layered import Layered

    if not isinstance(reader_of(opened.method), Layered):
        raise ValueError(
            f"{opened.folder} holds a run of {opened.name!r}, which has no vector for each piece "
            f"of an example; methods that have: {', '.join(methods_with('represent_each'))}"
        )


def _each(opened: Any, raw: Any, inputs: Any) -> dict[str, Any]:
    """The vectors of all pieces, the pieces, and of which text they are."""
    import numpy as np

    method = reader_of(opened.method)
    pieces = opened.data.pieces(raw)
    vectors = method.represent_each(inputs, progress="features")
    sizes = [len(rows) for rows in vectors]
    names = [name for text, size in zip(pieces, sizes) for name in method.cut(text)[:size]]
    features = np.concatenate([*vectors, np.zeros((0, method.width))])
    return {
        "features": features.astype(np.float32),
        "pieces": np.array(names, dtype=np.str_),
        "text": np.repeat(np.arange(len(sizes)), sizes),
    }
