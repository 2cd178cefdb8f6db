"""Downloads archives: verifies md5 sums, never leaves an unfinished download as data, and extracts only inside the folder."""

import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import download_url

from biotune.errors import DataError, one_line


def fetch_archive(url: str, md5: str, root: Path, folder: str) -> None:
    """Download a tar archive and put its top folder in place.

    The folder appears under its name only once it is complete.

    Args:
        url: Address of the archive.
        md5: The md5 sum of the archive, in hexadecimal digits.
        root: Folder for the archive and its content; created if absent.
        folder: Name of the archive's top folder.

    Raises:
        DataError: The address is unreachable, the content is wrong, or a member would be extracted outside the folder.
    """
    archive = root / url.rsplit("/", 1)[-1]
    try:
        root.mkdir(parents=True, exist_ok=True)
        download_url(url, str(root), archive.name, md5)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"dataset.download: {url} cannot be fetched ({one_line(error)}). Fetch it by other means and "
            f"put it at {archive} (md5 {md5}), or extract it into {root}."
        ) from error
    with tempfile.TemporaryDirectory(dir=root, prefix=".extract-") as unfinished:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unfinished, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(f"{archive}: cannot be extracted ({one_line(error)}).") from error
        if not (Path(unfinished) / folder).is_dir():
            raise DataError(f"{archive}: holds no folder {folder}.")
        _put(Path(unfinished) / folder, root / folder)


def fetch_whole(what: str, root: Path, fetch: Callable[[Path], None], remedy: str) -> None:
    """Call `fetch` on an empty folder, and move its content below the root, except for archives.

    Nothing appears below the root before everything is complete; after a failure nothing is left.

    Args:
        what: Name of the dataset for messages.
        root: Folder for the data; created if absent.
        fetch: Called with a folder; downloads and extracts into it, and verifies what can be verified.
        remedy: Last sentence of the error message: what to do if the download fails.

    Raises:
        DataError: The address is unreachable, or the content is incomplete, wrong or would be extracted outside the folder.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as unfinished:
            fetch(Path(unfinished))
            for archive in [path for path in Path(unfinished).rglob("*") if path.suffix in (".gz", ".tgz", ".zip")]:
                archive.unlink()
            for part in sorted(Path(unfinished).iterdir()):
                _put(part, root / part.name)
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"dataset.download: {what} cannot be fetched ({one_line(error)}). {remedy}") from error


def _put(complete: Path, place: Path) -> None:
    """Move into place; where another process was faster, its copy is kept."""
    if complete.is_dir() and place.is_dir():
        return
    complete.replace(place)
