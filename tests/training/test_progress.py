"""Long work in a log file: lines, and not one carriage return."""

from minissl.training.progress import Items


def test_counted_items_are_lines_in_a_file_and_silent_when_asked(capsys):
    counted = Items(["a", "b", "c"], "letters")
    seen = []
    for item in counted:
        seen.append(item)
        counted.note(f"at {item}")
    assert seen == ["a", "b", "c"]
    error = capsys.readouterr().err
    assert error == "letters: 1 of 3\nletters: 2 of 3\nletters: 3 of 3\n"
    assert list(Items([1, 2], "numbers", enabled=False)) == [1, 2]
    assert capsys.readouterr().err == ""


def test_counted_items_are_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    counted = Items(["a", "b"], "letters")
    for item in counted:
        counted.note(f"at {item}")
    error = capsys.readouterr().err
    assert "letters: 100%" in error
    assert "1 of 2" not in error
