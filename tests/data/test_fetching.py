"""Fetching from a server on this computer: cut-offs, kills, wrong sums, full and closed disks."""

import errno
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minissl.cli import main
from minissl.data.sets import Download, _cache, _download, load_set
from minissl.durable import whole_folder
from tests.systems import posix

TEXT = b"First Citizen:\nBefore we proceed any further, hear me speak.\n" * 200
SUM = f"sha256:{hashlib.sha256(TEXT).hexdigest()}"


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.headers["Accept-Encoding"] != "identity":  # packed once more, its sum is another
            self.send_error(406)
            return
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path.startswith("/silent"):
            self.server.done.wait(10)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        if self.path.startswith("/wrong"):
            self.wfile.write(bytes(len(TEXT)))
        elif self.path.startswith("/cut"):
            self.wfile.write(TEXT[:1000])
        elif self.path.startswith("/slow"):
            self.wfile.write(TEXT[:1000])
            self.wfile.flush()
            self.server.done.wait(10)
        else:
            self.wfile.write(TEXT)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.asked, running.done = [], threading.Event()
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.done.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISSL_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def url(server, path):
    return f"http://127.0.0.1:{server.server_port}/{path}/input.txt"


def shakespeare(address, checksum=SUM):
    """The set with one file, from another address."""
    return replace(
        load_set("tiny-shakespeare"), files=(Download(address, checksum, len(TEXT)),), room=0
    )


@pytest.fixture
def here(server, monkeypatch):
    """The command finds tiny-shakespeare on the server of the tests."""
    from minissl.data.sets import tiny_shakespeare

    def at(path):
        monkeypatch.setattr(tiny_shakespeare, "DATASET", shakespeare(url(server, path)))

    return at


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) if folder.exists() else []


def test_get_once_where_and_remove(server, cache, here, capsys):
    here("good")
    assert main(["data", "get", "tiny-shakespeare"]) == 0
    said = capsys.readouterr()
    assert "licence: public domain" in said.out
    assert said.out.index("licence:") < said.out.index("is in")
    assert "fetching http://127.0.0.1" in said.err  # one line where there is no terminal
    assert "\r" not in said.err
    assert everything(cache) == ["tiny-shakespeare", "tiny-shakespeare/tiny-shakespeare.txt"]
    asked = len(server.asked)
    assert main(["data", "get", "tiny-shakespeare"]) == 0
    assert "is here already" in capsys.readouterr().out
    assert len(server.asked) == asked
    assert main(["data", "where", "tiny-shakespeare"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes() == TEXT
    assert main(["data", "remove", "tiny-shakespeare"]) == 0
    assert everything(cache) == []
    assert main(["data", "remove", "tiny-shakespeare"]) == 0
    assert "there is no" in capsys.readouterr().out
    assert main(["data", "where", "tiny-shakespeare"]) == 1
    assert "`minissl data get tiny-shakespeare`" in capsys.readouterr().err


def test_quiet_and_another_folder(cache, here, capsys, tmp_path):
    here("good")
    assert main("data get tiny-shakespeare --quiet --cache other".split()) == 0
    assert capsys.readouterr() == ("", "")
    assert not cache.exists()
    assert main("data where tiny-shakespeare --cache other".split()) == 0
    assert "other/tiny-shakespeare/" in capsys.readouterr().out


def test_the_bar_of_a_terminal(server, cache, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    folder = _cache.fetch(shakespeare(url(server, "good")), progress=True)
    assert "input.txt: 100%" in capsys.readouterr().err
    assert _cache.fetch(shakespeare(url(server, "missing"))) == folder  # here: nobody is asked


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "127.0.0.1 answered 404 (Not Found)"),
        ("cut", "the connection was cut off in the middle"),
        ("silent", "127.0.0.1 said nothing for 0.2 seconds"),
        ("slow", "127.0.0.1 said nothing for 0.2 seconds"),
        ("wrong", f"gave {len(TEXT):,} bytes with the sum sha256:"),
    ],
)
def test_what_can_go_wrong_on_the_way_is_one_sentence(
    path, words, server, cache, here, capsys, monkeypatch
):
    monkeypatch.setattr(_download.download, "__kwdefaults__", {"progress": False, "seconds": 0.2})
    here(path)
    assert main(["data", "get", "tiny-shakespeare", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert url(server, path) in error
    assert "--from FOLDER" in error
    assert error.count("\n") == 1
    if path == "wrong":
        assert f"expected {SUM}" in error
        assert hashlib.sha256(bytes(len(TEXT))).hexdigest() in error
        assert "It was removed" in error
    assert everything(cache) == []
    here("good")
    assert main(["data", "get", "tiny-shakespeare", "--quiet"]) == 0


def test_no_server_and_no_such_name(cache):
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as closed:
        port = closed.server_port
    with pytest.raises(ConnectionError, match=r"there is no connection to 127.0.0.1"):
        _cache.fetch(shakespeare(f"http://127.0.0.1:{port}/input.txt"))


def test_a_name_that_nobody_knows(cache, monkeypatch):
    import socket

    def unknown(*arguments, **settings):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        ConnectionError, match=r"the name data.invalid is not known here \(is there a net"
    ):
        _cache.fetch(shakespeare("http://data.invalid/input.txt"))
    assert everything(cache) == []


# ---- by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["mine", "mine/input.txt"])
def test_files_from_a_persons_hands(given, server, cache, here, capsys, tmp_path):
    here("good")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "input.txt").write_bytes(TEXT)
    asked = len(server.asked)
    assert main(["data", "get", "tiny-shakespeare", "--from", given]) == 0
    assert len(server.asked) == asked
    assert (cache / "tiny-shakespeare" / "tiny-shakespeare.txt").read_bytes() == TEXT
    assert (tmp_path / "mine" / "input.txt").read_bytes() == TEXT


def test_by_hand_a_wrong_file_stays_and_is_told(cache, capsys, tmp_path):
    (tmp_path / "input.txt").write_bytes(b"not Shakespeare")
    assert main(["data", "get", "tiny-shakespeare", "--from", "."]) == 1
    error = capsys.readouterr().err
    assert f"sha256:{hashlib.sha256(b'not Shakespeare').hexdigest()}, expected sha256:86c4" in error
    assert (tmp_path / "input.txt").exists()
    assert everything(cache) == []


def test_by_hand_what_is_missing_is_listed(cache, capsys, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert main(["data", "get", "mnist", "--from", "."]) == 1
    error = capsys.readouterr().err
    assert "/t10k-images-idx3-ubyte.gz" in error
    assert "/train-images-idx3-ubyte.gz" not in error


# ---- whole or not at all -------------------------------------------------------------------------


def test_an_unpacking_that_fails_leaves_nothing(server, cache):
    def broken(files, folder):
        (folder / "half.txt").write_text("half", encoding="utf-8")
        raise ValueError("input.txt is damaged")

    with pytest.raises(ValueError, match=r"input.txt is damaged"):
        _cache.fetch(replace(shakespeare(url(server, "good")), unpack=broken))
    assert everything(cache) == []


def test_a_full_disk_is_told(server, cache, monkeypatch):
    def full(files, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    dataset = shakespeare(url(server, "good"))
    with pytest.raises(OSError, match=r"the disk of .*cache is full; choose another folder"):
        _cache.fetch(replace(dataset, unpack=full))
    with pytest.raises(OSError, match=r"needs 1000000.0 GB while it is unpacked, and .*cache has"):
        _cache.fetch(replace(dataset, room=10**15))
    assert everything(cache) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written(number, cache, monkeypatch):
    """As the system says it; the tests may be run by root, who may write anywhere."""

    def closed(**arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("minissl.durable.tempfile.mkdtemp", closed)
    with pytest.raises(OSError, match=rf"cannot be written \({os.strerror(number)}\).*--cache"):
        _cache.fetch(shakespeare("http://127.0.0.1:9/input.txt"))


def test_a_cache_that_is_a_file(server, cache):
    cache.write_text("a file", encoding="utf-8")
    with pytest.raises(OSError, match=r"cache cannot be written.*--cache FOLDER"):
        _cache.fetch(shakespeare(url(server, "good")))


def test_a_damaged_set_is_fetched_again(server, cache):
    dataset = shakespeare(url(server, "good"))
    dataset.folder().mkdir(parents=True)
    (dataset.folder() / "something else").write_text("of another version", encoding="utf-8")
    _cache.fetch(dataset)
    assert everything(cache) == ["tiny-shakespeare", "tiny-shakespeare/tiny-shakespeare.txt"]


FETCH = """
import sys, time
from dataclasses import replace
from pathlib import Path
from minissl.data.sets import Download, _cache, load_set
def unpack(files, folder):
    (folder / "tiny-shakespeare.txt").write_bytes(files["input.txt"].read_bytes())
    Path(sys.argv[3]).touch()
    end = time.time() + 20
    while Path(sys.argv[3]).exists() and time.time() < end:
        time.sleep(.01)
dataset = load_set("tiny-shakespeare")
dataset = replace(dataset, files=(Download(sys.argv[1], sys.argv[2], 1),), unpack=unpack)
print(_cache.fetch(dataset))
"""


def start(address, sign):
    """A process that stands in the middle of unpacking while the file ``sign`` is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, address, SUM, str(sign)], stdout=subprocess.PIPE
    )
    end = time.time() + 20
    while not sign.exists() and process.poll() is None and time.time() < end:
        time.sleep(0.01)
    assert sign.exists()
    return process


@posix
def test_a_kill_leaves_nothing_that_looks_like_a_set_and_two_at_once_do_no_harm(
    server, cache, tmp_path
):
    address = url(server, "good")
    killed = start(address, tmp_path / "one")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert [path.name for path in cache.glob("[!.]*")] == []
    assert len([*cache.iterdir()]) == 1  # what the next try removes
    first, second = start(address, tmp_path / "two"), start(address, tmp_path / "three")
    assert len([*cache.iterdir()]) == 2  # theirs, and no longer that of the dead
    for process, sign in ((first, "two"), (second, "three")):
        (tmp_path / sign).unlink()
        assert process.communicate(timeout=20)[0].decode().strip() == str(
            cache / "tiny-shakespeare"
        )
        assert process.returncode == 0
        assert (cache / "tiny-shakespeare" / "tiny-shakespeare.txt").read_bytes() == TEXT
    assert everything(cache) == ["tiny-shakespeare", "tiny-shakespeare/tiny-shakespeare.txt"]


def test_a_whole_folder_replaces_an_old_one_only_when_it_is_whole(tmp_path):
    target = tmp_path / "set"
    with whole_folder(target) as new:
        (new / "a").write_text("old", encoding="utf-8")
        assert not target.exists()

    def fill(broken):
        with whole_folder(target) as new:
            (new / "b").write_text("new", encoding="utf-8")
            if broken:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(broken=True)
    assert everything(tmp_path) == ["set", "set/a"]
    fill(broken=False)
    assert everything(tmp_path) == ["set", "set/b"]


# ---- the command ---------------------------------------------------------------------------------


def test_list_names_all_and_fetches_nothing(cache, capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "2.6 GB" in out
    assert "no" in next(line for line in out.splitlines() if line.startswith("mnist ")).split()
    assert "yes" in next(line for line in out.splitlines() if line.startswith("digits ")).split()
    assert "ImageNet" in out
    assert "mnist/train, mnist/test" in rows["mnist:"]
    assert not cache.exists()


@posix
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "digits"], "digits needs no download"),
        (["get", "mine"], "mine is on this computer: it is given as DATA as it is"),
        (["get", "mnist/test"], "`minissl data get mnist` fetches all parts"),
        (["get", "imagenet"], "no data set"),
        (["where", "digits"], "digits needs no download"),
        (["remove", "digits"], "was not fetched"),
    ],
)
def test_names_that_are_something_else(words, said, cache, capsys):
    Path("mine").mkdir()
    main(["data", *words])
    assert said in "".join(capsys.readouterr())


def test_a_folder_with_the_name_of_a_set_is_told(cache, here, capsys):
    here("good")
    Path("tiny-shakespeare").mkdir()
    assert main(["data", "get", "tiny-shakespeare"]) == 0
    assert "goes first" in capsys.readouterr().out


def test_where_the_cache_is_without_a_wish(monkeypatch):
    monkeypatch.delenv("MINISSL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/caches")
    if sys.platform == "linux":
        assert _cache.cache_folder() == Path("/home/somebody/caches/minissl")
    monkeypatch.setenv("MINISSL_DATA", "~/sets")
    assert _cache.cache_folder() == Path.home() / "sets"


def test_bytes_for_people():
    assert [_cache.in_bytes(n) for n in (40_000, 1_115_394, 170_052_171, 2_640_397_119)] == [
        "0.0 MB", "1.1 MB", "170 MB", "2.6 GB",
    ]  # fmt: skip
    assert np.isclose(load_set("mnist").size, 11.6e6, rtol=0.01)
