"""``minissl clean``: pages from a file, a folder or a pipe become texts, and nothing is lost."""

import io

import pytest

from minissl.cli import main

PAGE = "<title>T</title><p>caf\u00e9 &amp; a < b</p><script>x</script><pre>1\n 2</pre>"
TEXT = "T\n\ncafé & a < b\n\n1\n 2\n"


def call(*arguments):
    return main(["clean", *map(str, arguments)])


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE, encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("source", ["file", "standard input"])
def test_one_page_is_printed(source, encoding, page, capsysbinary, monkeypatch):
    page.write_text(PAGE, encoding=encoding)
    if source == "file":
        assert call(page) == 0
    else:
        monkeypatch.setattr(
            "sys.stdin", io.TextIOWrapper(io.BytesIO(page.read_bytes()), encoding="utf-8")
        )
        assert call() == 0
    assert capsysbinary.readouterr().out == TEXT.encode()


def test_one_page_is_written_and_nothing_over_it(page, tmp_path, capsys):
    out = tmp_path / "new" / "page.txt"
    assert call(page, "--out", out) == 0
    assert out.read_text(encoding="utf-8") == TEXT
    assert call(page, "--out", out) == 1
    assert f"--out '{out}' is there already" in capsys.readouterr().err


def test_a_folder_becomes_a_folder_of_texts_that_are_read(page, tmp_path, capsys):
    from minissl.data.texts import Texts

    folder, out = tmp_path / "site", tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.HTM").write_text("<p>one", encoding="utf-8")
    (folder / "deep" / "b.html").write_text("<p>two", encoding="utf-8")
    (folder / "c.css").write_text("p {}", encoding="utf-8")
    assert call(folder) == 1
    assert "is a folder: give --out" in capsys.readouterr().err
    assert call(folder, "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: 2 texts, 8 bytes; 1 other file(s) passed over\n"
    found = {document.name: document.text for document in Texts.read(out).documents}
    assert found == {"a.txt": "one\n", "deep/b.txt": "two\n"}


def test_what_cannot_be_cleaned_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "site"
    folder.mkdir()
    assert call(folder, "--out", "x") == 1
    assert "no pages below" in capsys.readouterr().err
    (folder / "a.html").write_bytes(b"caf\xe9")
    assert call(folder / "a.html") == call(folder, "--out", "x") == 1
    assert "a.html" in (error := capsys.readouterr().err)
    assert "byte 0xe9 at offset 3" in error
    (folder / "a.htm").write_text("x", encoding="utf-8")
    assert call(folder, "--out", "x") == 1
    assert f"{folder / 'a.htm'} and {folder / 'a.html'} would both be" in capsys.readouterr().err
    assert call("absent.html") == 1
    assert "absent.html" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", None)
    assert call() == 1
    assert "standard input is closed" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [folder]
