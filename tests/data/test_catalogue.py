import hashlib
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jaxnas.data import catalogue
from jaxnas.data.catalogue import data_folder, download, find_data, list_data
from jaxnas.data.public import DATASETS, PublicData, PublicFile
from jaxnas.errors import InputError

CONTENT = {"first.bin": bytes(range(256)) * 1000, "second.bin": b"second"}


class Handler(BaseHTTPRequestHandler):
    """GET /good/NAME sends the file, /cut/NAME half of it, /wrong/NAME other bytes, /reset/NAME no answer."""

    requests: list[str]  # set by the fixture

    def do_GET(self):
        self.requests.append(self.path)
        kind, _, name = self.path[1:].partition("/")
        if kind == "reset":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if kind not in ("good", "cut", "wrong", "unsized") or name not in CONTENT:
            self.send_error(404)
            return
        body = CONTENT[name]
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write({"cut": body[: len(body) // 2], "wrong": body[::-1]}.get(kind, body))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine, and a data set "toy" of two files on it."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Handler, "requests", [], raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{http.server_port}"
        files = tuple(
            PublicFile(f"toy/{name}", f"{address}/good/{name}", f"sha256:{hashlib.sha256(body).hexdigest()}")
            for name, body in CONTENT.items()
        )
        monkeypatch.setitem(DATASETS, "toy", PublicData("toy", "table", "a toy", 1, "none", address, files=files))
        yield address
        http.shutdown()
        thread.join()


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_download_brings_every_file(server, tmp_path):
    seen = []
    assert download("toy", tmp_path, on_event=seen.append) == tmp_path / "toy"
    assert files_below(tmp_path) == {f"toy/{name}": body for name, body in CONTENT.items()}
    assert seen[-1] == (6, 6)
    assert (256_000, 256_000) in seen
    assert find_data("toy", tmp_path) == tmp_path / "toy"


def test_download_keeps_a_good_file_and_replaces_a_bad_one(server, tmp_path):
    download("toy", tmp_path)
    (tmp_path / "toy" / "second.bin").write_bytes(b"spoiled")
    Handler.requests.clear()
    download("toy", tmp_path)
    assert Handler.requests == ["/good/second.bin"]
    assert files_below(tmp_path) == {f"toy/{name}": body for name, body in CONTENT.items()}


def test_download_from_a_mirror_and_without_a_length(server, tmp_path):
    totals = []
    download("toy", tmp_path, lambda event: totals.append(event.total), address=f"{server}/unsized/")
    assert set(totals) == {None}
    assert files_below(tmp_path) == {f"toy/{name}": body for name, body in CONTENT.items()}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "connection cut after 128000 of 256000 bytes"),
        ("wrong", "wrong sha256: got [0-9a-f]{64}, expected " + hashlib.sha256(CONTENT["first.bin"]).hexdigest()),
        ("missing", "answered 404"),
        ("reset", "connection failed after 0 bytes"),
    ],
)
def test_a_failed_download_changes_nothing(server, tmp_path, kind, message):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "first.bin").write_bytes(b"old")
    with pytest.raises(InputError, match=message) as error:
        download("toy", tmp_path, address=f"{server}/{kind}")
    assert "\n" not in str(error.value)
    assert files_below(tmp_path) == {"toy/first.bin": b"old"}
    download("toy", tmp_path)
    assert files_below(tmp_path) == {f"toy/{name}": body for name, body in CONTENT.items()}


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("toy", tmp_path, interrupt)
    assert files_below(tmp_path) == {}


def test_an_error_of_the_progress_callback_is_not_taken_for_a_network_failure(server, tmp_path):
    with pytest.raises(ZeroDivisionError):
        download("toy", tmp_path, lambda event: 1 // 0)


def test_no_server_is_no_connection(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: refused
        with pytest.raises(InputError, match="no connection"):
            download("toy", tmp_path, address=f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(InputError, match="unknown url type"):
        download("toy", tmp_path, address="nonsense")


def test_a_folder_that_cannot_be_written_is_an_input_error(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot write"):
        download("toy", tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_an_input_error(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        download("toy", tmp_path)


def test_what_cannot_be_downloaded_says_why(tmp_path):
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        download("cifar11", tmp_path)
    with pytest.raises(InputError, match=r"no direct download: compile .*nb201_table\.npz from https://github\.com"):
        download("nasbench201", tmp_path)
    with pytest.raises(InputError, match="needs no download"):
        download("digits", tmp_path)
    with pytest.raises(InputError, match="did you mean 'cifar100'"):
        find_data("cifar-100", tmp_path)


def test_data_folder_prefers_argument_then_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXNAS_DATA", "/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_folder("~/mine") == Path.home() / "mine"
    assert data_folder() == Path("/somewhere")
    monkeypatch.delenv("JAXNAS_DATA")
    assert data_folder() == tmp_path / "jaxnas" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert data_folder() == Path.home() / ".cache" / "jaxnas" / "data"


def test_list_data_tells_what_is_present(tmp_path):
    assert {status.data.name for status in list_data(tmp_path) if status.present} == {"digits"}
    assert {status.data.name for status in list_data(tmp_path / "none") if status.present} == {"digits"}
    (tmp_path / "cifar-10-batches-bin").mkdir()
    status = next(status for status in list_data(tmp_path) if status.data.name == "cifar10")
    assert status.path == tmp_path / "cifar-10-batches-bin"
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "mine.npz").touch()
    assert find_data("cifar10", tmp_path) == tmp_path / "cifar10" / "mine.npz"


def test_a_set_of_several_files_is_present_when_all_are(tmp_path):
    *first, last = [tmp_path / file.path for file in DATASETS["robot"].files]
    last.parent.mkdir(parents=True)
    for path in first:
        path.touch()
    assert find_data("robot", tmp_path) is None
    last.touch()
    assert find_data("robot", tmp_path) == tmp_path / "nb201" / "robot_raw"


@pytest.mark.parametrize("data", DATASETS.values(), ids=DATASETS.keys())
def test_catalogue_contract(data, tmp_path):
    assert DATASETS[data.name] is data
    assert data.kind in ("table", "images")
    assert (data.kind == "images") == (data.num_classes is not None)
    assert data.about
    assert data.licence
    assert data.address.startswith("http")
    assert data.size == 0 or data.places or data.files
    for file in data.files:
        method, _, checksum = file.checksum.partition(":")
        assert len(bytes.fromhex(checksum)) == hashlib.new(method).digest_size
        assert file.address.startswith("https://")
        assert Path(file.path).name == file.address.rpartition("/")[2]
    assert (catalogue._status(data, tmp_path).path is None) == (data.size == 0)


@pytest.mark.data
def test_checksums_are_those_of_the_published_files(data_folder):
    for file in DATASETS["robot"].files:
        assert "sha256:" + hashlib.sha256((data_folder / file.path).read_bytes()).hexdigest() == file.checksum
