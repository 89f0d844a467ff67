"""Local folders and object stores fulfil one contract, with a real S3-compatible server and one that fails."""

import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

import jaxnas.store.folders
import jaxnas.store.store
from jaxnas.errors import InputError
from jaxnas.runtime.places import without_secrets
from jaxnas.store.folders import LocalFolder, RemoteFolder, file_in, open_folder
from jaxnas.store.parts import open_parts, read_parts
from jaxnas.store.tables import read_score_table, read_scores, write_score_table
from tests.integration import require
from tests.store.test_store import NASBENCH201, calls_of, same, sample, score

SECRET = "c0nfidential"


@contextmanager
def served(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def s3_port():
    server = require("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def s3(s3_port, monkeypatch):
    """Return the address of an empty folder; libraries read server and credentials from the environment."""
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connection = http.client.HTTPConnection("127.0.0.1", s3_port)
    bucket = f"bucket{random.getrandbits(40)}"
    connection.request("PUT", f"/{bucket}", headers={"Host": f"127.0.0.1:{s3_port}"})
    assert connection.getresponse().status == 200
    return f"s3://{bucket}/runs/one"


@pytest.fixture(params=["local", "s3", "fsspec"])
def place(request, tmp_path):
    if request.param == "fsspec":
        require("fsspec")
        return f"memory://{tmp_path.name}/one"
    return tmp_path / "one" if request.param == "local" else request.getfixturevalue("s3")


def test_contract(place):
    folder = open_folder(place)
    assert (folder.names("parts"), folder.exists("a.json")) == ([], False)
    folder.write("parts/b.parquet", b"b")
    folder.write("parts/a.parquet", b"")
    folder.write("a.json", b"old")
    folder.write("a.json", b"new")
    assert folder.names("parts") == ["parts/a.parquet", "parts/b.parquet"]
    assert (folder.read("a.json"), folder.read("parts/a.parquet")) == (b"new", b"")
    assert (folder.exists("parts/b.parquet"), folder.exists("parts")) == (True, isinstance(folder, LocalFolder))
    folder.create("a.json", b"other")
    folder.create("b.json", b"first")
    assert (folder.read("a.json"), folder.read("b.json")) == (b"new", b"first")
    for _ in range(2):
        folder.set_aside("parts/a.parquet")
    assert folder.names("parts") == ["parts/a.parquet.damaged", "parts/b.parquet"]
    folder.remove_stale()
    with pytest.raises(InputError, match=r"cannot read .*one/none\.json"):
        folder.read("none.json")
    assert str(folder).endswith("one")


def test_many_at_once(place):
    folder = open_folder(place)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: folder.write(f"parts/{number % 10}", b"%d" % (number % 10)), range(80)))
    assert [folder.read(name) for name in folder.names("parts")] == [b"%d" % number for number in range(10)]


def test_addresses(s3, tmp_path):
    assert isinstance(open_folder(tmp_path.as_uri()), LocalFolder)
    assert isinstance(open_folder(s3), RemoteFolder)
    assert without_secrets(f"s3://me:{SECRET}@bucket/x?key={SECRET}") == "s3://bucket/x"
    for address in (f"abc://me:{SECRET}@bucket/x", f"s3://me:{SECRET}@bucket/x?secret={SECRET}"):
        with pytest.raises(InputError, match=r"cannot open (abc|s3)://bucket/x: ") as caught:
            open_folder(address)
        assert SECRET not in str(caught.value)


@pytest.mark.slow
def test_scores_in_an_object_store_are_those_of_a_folder(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxnas.store.store, "SAVE_INTERVAL", 0.0)
    monkeypatch.setattr(jaxnas.store.store, "LONGEST_INTERVAL", 0.0)
    here, there = score(tmp_path / "s"), score(s3)
    np.testing.assert_array_equal(here.values, there.values)
    assert same(
        read_score_table(tmp_path / "s").replace_schema_metadata(), read_score_table(s3).replace_schema_metadata()
    )
    assert calls_of(s3) == ([(12, 12)], [])
    write_score_table(file_in(f"{s3}?region=us-east-1", "scores.parquet"), read_score_table(f"{s3}?region=us-east-1"))
    assert same(read_score_table(f"{s3}/scores.parquet?region=us-east-1"), read_score_table(s3))
    assert same(read_score_table(f"{s3}/scores.parquet"), read_score_table(s3))
    folder = open_folder(s3)
    damaged = folder.names("parts")[0]
    folder.write(damaged, b"PAR1 cut")
    with pytest.raises(InputError, match=rf"{damaged} is damaged"):
        read_scores(s3)
    assert calls_of(s3)[1][0][0] == damaged
    np.testing.assert_array_equal(read_scores(s3).values, read_scores(tmp_path / "s").values)
    with pytest.raises(InputError, match="seed is 0, not 1"):
        open_parts(folder, {**read_parts(folder)[0], "seed": 1}, print)
    with pytest.raises(InputError, match=r"no scores in folder s3://.*/none"):
        read_scores(f"{s3}/none")
    with pytest.raises(InputError, match=r"no score file s3://.*/none\.parquet"):
        read_scores(f"{s3}/none.parquet")


class Faulty(BaseHTTPRequestHandler):
    """Forward requests to `port`; some are answered by an error, cut during upload, or executed without an answer."""

    protocol_version = "HTTP/1.1"
    port, random, share, told = 0, random.Random(0), 0.3, Counter()

    def log_message(self, *args):
        pass

    def draw_fault(self):
        faults = ["500", "503", "cut", "not told", *(["late"] if self.told["late"] < 2 else [])]
        return self.random.choice(faults) if self.random.random() < self.share else ""

    def handle_any(self):
        fault = self.draw_fault()
        self.told[fault] += 1
        if fault == "cut":
            return self.hang_up()
        body = self.read_body()
        if fault in ("500", "503"):
            return self.answer(int(fault), {}, b"")
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("transfer-encoding", "expect")
        }
        connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        content = response.read()
        if fault == "late":
            time.sleep(5)  # longer than AWS' library waits
        if fault in ("late", "not told"):
            return self.hang_up()
        self.answer(response.status, dict(response.headers), content)

    def read_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(name, value)
        length = headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def hang_up(self):
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any


@pytest.mark.slow
def test_a_server_that_fails_loses_no_row_and_doubles_none(s3, s3_port, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxnas.store.store, "SAVE_INTERVAL", 0.0)
    monkeypatch.setattr(jaxnas.store.store, "LONGEST_INTERVAL", 0.0)
    Faulty.port, Faulty.random, Faulty.told = s3_port, random.Random(1), Counter()
    archs = sample(NASBENCH201, 40, seed=0)
    here = score(tmp_path / "s", archs)
    with served(Faulty) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        there = score(s3, archs)
    assert all(Faulty.told[fault] > 0 for fault in ("500", "503", "cut", "not told", "late")), Faulty.told
    np.testing.assert_array_equal(here.values, there.values)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    _, parts = read_parts(open_folder(s3))
    rows = np.concatenate([part.indices for part in parts])
    assert sorted(rows) == sorted(set(rows))
    assert len(rows) == len(archs)


def test_a_server_that_is_gone_is_told_in_one_line(s3, monkeypatch):
    monkeypatch.setattr(jaxnas.store.folders, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot (open|list|look for) s3://") as caught:
        score(s3)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["score", "--sample", "4", "--out"], ["search", "--scores"]],
    ids=lambda given: given[0],
)
def test_a_server_that_never_answers_is_named_after_ten_seconds(tmp_path, command):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are accepted and nothing is answered
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "jaxnas.cli", *command, f"s3://me:{SECRET}@bucket/x?region=us-east-1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
    seconds, line = time.monotonic() - began, done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert line.startswith("error: cannot open s3://bucket/x: no answer within 10 s; check the address")
    assert SECRET not in done.stdout + done.stderr
    assert jaxnas.store.folders.ANSWER <= seconds < jaxnas.store.folders.ANSWER + 15  # of start-up on a loaded machine


@pytest.mark.slow
def test_the_command_scores_into_an_object_store(s3, tmp_path):
    args = ["score", "--sample", "6", "--channels", "2", "--proxies", "params,synflow", "--out", s3, "--json"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "jaxnas.cli", *args], cwd=tmp_path, capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0] == {"event": "start", "stage": "scoring", "total": 6, "found": 6}
    assert events[-1]["out"] == s3
    assert len(read_scores(f"{s3}/scores.parquet").archs) == 6
    folder = open_folder(s3)
    stored = b"".join(folder.read(name) for name in ["manifest.json", *folder.names("parts")])
    for text in (done.stdout.encode(), done.stderr.encode(), stored):
        assert not re.search(rf"{SECRET}|127\.0\.0\.1".encode(), text)
    assert not list(tmp_path.iterdir())
