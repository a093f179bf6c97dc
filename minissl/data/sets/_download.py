"""Published files from the network or from a person's hands: nothing else with a right sum passes.

An address may begin with http://, since the sum is compared with the one written in this library.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from minissl.data.sets import DataSet, Download

SECONDS = 30.0  # without an answer, or without any more of it


def collect(dataset: DataSet, place: Path) -> dict[str, Path]:
    """The published files by name, in a folder or (if it is only one) as a file; sums are checked.

    Raises FileNotFoundError that lists what is missing, with addresses, and ValueError for a file
    with another sum. Nothing of the person's is removed.
    """
    if place.is_file() and len(dataset.files) == 1:
        files = {dataset.files[0].name: place}
    else:
        files = {file.name: place / file.name for file in dataset.files}
    if missing := [file for file in dataset.files if not files[file.name].is_file()]:
        raise FileNotFoundError(
            f"{dataset.name}: {place} is no folder with {', '.join(f.name for f in missing)}; "
            f"download {' '.join(f.url for f in missing)} into one folder and give that"
        )
    for file in dataset.files:
        found = found_sum(files[file.name], file)
        if found != file.checksum:
            raise ValueError(
                f"{dataset.name}: {files[file.name]} has the sum {found}, expected "
                f"{file.checksum}: it is damaged, or not the file of {file.url}"
            )
    return files


def found_sum(path: Path, file: Download) -> str:
    """The sum of a file, in the form and by the algorithm of the one that is expected."""
    import pooch

    algorithm = file.checksum.partition(":")[0]
    return f"{algorithm}:{pooch.file_hash(str(path), algorithm)}"


def download(
    name: str, file: Download, target: Path, *, progress: bool = False, seconds: float = SECONDS
) -> None:
    """Fetch a file of the data set ``name`` into a temporary folder, and compare its sum.

    Raises ConnectionError, in one sentence, for what can go wrong on the way, and ValueError for a
    wrong sum; who made the folder removes it, with what came.
    """
    import requests

    try:
        _fetch(file, target, progress, seconds)
    except requests.RequestException as error:
        raise ConnectionError(
            f"{name}: {file.url} could not be fetched: {_reason(error, file.url, seconds)}. "
            f"Nothing was kept; {_again(name)}"
        ) from None
    found = found_sum(target, file)
    if found != file.checksum:
        size = target.stat().st_size
        raise ValueError(
            f"{name}: {file.url} gave {size:,} bytes with the sum {found}, expected "
            f"{file.checksum}: the file was changed at its origin, or on the way (a log-in page of "
            f"a network does that). It was removed; {_again(name)}"
        )


def _again(name: str) -> str:
    return (
        f"try `minissl data get {name}` again, or fetch it by other means and give its folder: "
        f"`minissl data get {name} --from FOLDER`"
    )


def _fetch(file: Download, target: Path, progress: bool, seconds: float) -> None:
    import pooch

    bar = None
    if progress and sys.stderr.isatty():
        from tqdm import tqdm

        total = file.size or 1  # the server says it better
        bar = tqdm(total=total, desc=file.name, unit="B", unit_scale=True, dynamic_ncols=True)
    elif progress:
        print(f"fetching {file.url}", file=sys.stderr, flush=True)
    # As it is stored: a server that packs it once more would change the sum of packed files.
    headers = {"Accept-Encoding": "identity"}
    fetcher = pooch.HTTPDownloader(
        progressbar=bar or False, chunk_size=1 << 18, timeout=seconds, headers=headers
    )
    try:
        fetcher(file.url, str(target), None)
    finally:
        if bar is not None:
            bar.close()


def _reason(error: Exception, url: str, seconds: float) -> str:
    """In words, what went wrong between here and the server."""
    import requests

    host = urlsplit(url).hostname
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{host} answered {error.response.status_code} ({error.response.reason})"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"{host} said nothing for {seconds:g} seconds"
    if "NameResolution" in str(error) or "getaddrinfo" in str(error):
        return f"the name {host} is not known here (is there a network?)"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{host} could not prove who it is ({error})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut off in the middle"
    return f"there is no connection to {host}"
