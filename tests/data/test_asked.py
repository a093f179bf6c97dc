"""How labelled data is read: by the form that is asked for, the layout, or the file's name."""

from pathlib import Path

import pytest

from minissl.data import Fields
from minissl.data.asked import OF_FORM, READS, load_reads, shape_of
from minissl.forms import FORMS


@pytest.mark.parametrize(
    ("path", "fields", "more", "expected"),
    [
        (None, {}, {}, ("", "")),
        ("a.csv", {}, {}, ("", "")),
        ("a.csv", {}, {"form": "number"}, ("", "number")),
        ("a.csv", {}, {"pair": True}, ("pairs", "")),
        ("a.csv", {}, {"pair": True, "form": "number"}, ("pairs", "number")),
        ("a.csv", {}, {"form": "choice"}, ("choices", "choice")),
        ("a.conllu", {}, {}, ("tagged", "tags")),
        ("A.CONLL", {}, {}, ("tagged", "tags")),
        ("a.bio", {}, {}, ("tagged", "tags")),
        ("a.json", {}, {}, ("questions", "span")),
        ("a.json", {}, {"form": "class"}, ("", "class")),
        ("a.tsv", {"layout": "sst-2"}, {}, ("", "")),
        ("a.tsv", {"layout": "snli"}, {}, ("pairs", "")),
        ("a.tsv", {"layout": "sts-b"}, {}, ("pairs", "number")),
        ("a.json", {"layout": "snli"}, {}, ("pairs", "")),
    ],
)
def test_the_shape_follows_from_form_layout_and_name(path, fields, more, expected):
    assert shape_of(path and Path(path), Fields(**fields), **more) == expected


def test_every_shape_can_be_loaded_and_says_its_own_name():
    assert {load_reads(name).reads for name in READS} == {*READS}
    assert {*OF_FORM} == {*FORMS} - {"class", "number"}
    assert {*OF_FORM.values()} == {*READS} - {"pairs"}
    with pytest.raises(ValueError, match="no data is read as 'sounds'; there are: pairs, tagged"):
        load_reads("sounds")
