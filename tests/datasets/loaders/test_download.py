"""Tests of fetching CUB-200-2011's archive, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trees import cub_config, cub_tree

from biotune.datasets.loaders import cub
from biotune.errors import DataError


@dataclass
class Archive:
    """What the server hands out, and how often it was asked."""

    content: bytes
    claimed_length: int | None = None
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Archive]]:
    servers: list[ThreadingHTTPServer] = []

    def start(content: bytes, md5: str | None = None, claimed_length: int | None = None) -> Archive:
        archive = Archive(content, claimed_length)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(archive.claimed_length or len(archive.content)))
                self.end_headers()
                self.wfile.write(archive.content)

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(cub, "URL", f"http://127.0.0.1:{server.server_port}/files/CUB_200_2011.tgz")
        monkeypatch.setattr(cub, "MD5", md5 or hashlib.md5(content).hexdigest())
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        return archive

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    base = cub_tree(tmp_path_factory.mktemp("published"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(base, "CUB_200_2011")
    return buffer.getvalue()


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_download_becomes_a_dataset_and_is_made_once(tmp_path: Path, serve: Callable[..., Archive], archive: bytes) -> None:
    served = serve(archive)
    config = cub_config(tmp_path / "new" / "data", download=True)
    first = cub.load(config)
    assert len(first.names) == 18
    assert first.read(0).size == (40, 32)
    requests = len(served.requests)
    assert requests >= 1
    assert cub.load(config).fingerprint == first.fingerprint
    assert len(served.requests) == requests, "nothing is fetched again"
    assert {path.name for path in (tmp_path / "new" / "data").iterdir()} <= {"CUB_200_2011", "CUB_200_2011.tgz"}


def test_a_local_copy_is_used_without_asking_the_network(tmp_path: Path, serve: Callable[..., Archive], archive: bytes) -> None:
    served = serve(archive)
    cub_tree(tmp_path)
    cub.load(cub_config(tmp_path, download=True))
    cub.load(cub_config(tmp_path / "CUB_200_2011", download=True))
    assert served.requests == []


def test_an_archive_fetched_by_other_means_is_taken(tmp_path: Path, serve: Callable[..., Archive], archive: bytes) -> None:
    served = serve(archive)
    (tmp_path / "CUB_200_2011.tgz").write_bytes(archive)
    assert len(cub.load(cub_config(tmp_path, download=True)).names) == 18
    assert served.requests == []


def test_content_with_another_md5_is_refused_and_is_no_dataset(
    tmp_path: Path, serve: Callable[..., Archive], archive: bytes
) -> None:
    serve(archive, md5="0" * 32)
    with pytest.raises(DataError, match="dataset.download: .*CUB_200_2011.tgz.*cannot be fetched") as error:
        cub.load(cub_config(tmp_path, download=True))
    assert "0" * 32 in str(error.value)
    assert not (tmp_path / "CUB_200_2011").exists()


def test_a_cut_off_download_is_refused_and_a_later_one_succeeds(
    tmp_path: Path, serve: Callable[..., Archive], archive: bytes
) -> None:
    whole = hashlib.md5(archive).hexdigest()
    serve(archive[: len(archive) // 2], md5=whole, claimed_length=len(archive))
    with pytest.raises(DataError, match="cannot be fetched"):
        cub.load(cub_config(tmp_path, download=True))
    assert not (tmp_path / "CUB_200_2011").exists()
    serve(archive)
    assert len(cub.load(cub_config(tmp_path, download=True)).names) == 18


def test_an_unreachable_source_says_where_to_put_the_archive(
    tmp_path: Path, serve: Callable[..., Archive], archive: bytes
) -> None:
    serve(archive)
    cub.URL = "http://127.0.0.1:9/CUB_200_2011.tgz"  # the fixture's patch takes this back too
    with pytest.raises(DataError, match="put it at .*CUB_200_2011.tgz"):
        cub.load(cub_config(tmp_path, download=True))


@pytest.mark.parametrize("kind", ["dots", "absolute", "link"])
def test_a_hostile_member_writes_nothing_outside(
    tmp_path: Path, serve: Callable[..., Archive], archive: bytes, kind: str
) -> None:
    buffer = io.BytesIO()
    outside = tmp_path / "evil.txt"
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("CUB_200_2011/images.txt")
        tar.addfile(member, io.BytesIO())
        if kind == "link":
            link = tarfile.TarInfo("CUB_200_2011/way-out")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
            tar.addfile(link)
            member = tarfile.TarInfo("CUB_200_2011/way-out/evil.txt")
        else:
            member = tarfile.TarInfo("../../evil.txt" if kind == "dots" else str(outside))
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    serve(buffer.getvalue())
    with pytest.raises(DataError):
        cub.load(cub_config(tmp_path / "data", download=True))
    assert not outside.exists()
    assert all(name.startswith("data/") for name in files_below(tmp_path))
    if kind != "absolute":  # this one is unpacked as a relative path, inside
        assert files_below(tmp_path) <= {"data/CUB_200_2011.tgz"}, "nothing is left that looks like data"


def test_an_archive_without_the_folder_is_refused(tmp_path: Path, serve: Callable[..., Archive]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("something/else.txt"), io.BytesIO())
    serve(buffer.getvalue())
    with pytest.raises(DataError, match="holds no folder CUB_200_2011"):
        cub.load(cub_config(tmp_path, download=True))
    assert not (tmp_path / "CUB_200_2011").exists()
    assert not (tmp_path / "something").exists()
