"""Fetching archives: md5 verified, half-finished downloads never mistaken for data, extraction inside its folder."""

import shutil
import tarfile
import tempfile
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import download_url

from biotune.errors import DataError, one_line


def fetch_archive(url: str, md5: str, root: Path, folder: str) -> None:
    """Download a tar archive and put its top folder in place.

    The folder appears under its name only once it is complete.

    Args:
        url: Where the archive lies.
        md5: What its content must hash to.
        root: Where the archive and the folder go; made if absent.
        folder: Name of the archive's top folder.

    Raises:
        DataError: The source is unreachable, the content is wrong, or a member would leave the folder.
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
        shutil.move(str(Path(unfinished) / folder), root / folder)
