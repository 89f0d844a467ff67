import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import python2_pickle

from jaxnas.errors import InputError
from jaxnas.runtime.files import atomic_write, read_npz, read_pickle


def test_atomic_write_replaces_the_file_and_makes_its_folder(tmp_path):
    target = tmp_path / "new" / "table.npz"
    for value in (1, 2):
        with atomic_write(target) as partial:
            assert partial.parent == target.parent
            np.savez(partial, value=value)
    assert read_npz(target)["value"] == 2
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    target = tmp_path / "file.json"
    target.write_text("old")

    def interrupted():
        with atomic_write(target) as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_write(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_or_a_device_receives_the_content_and_stays(tmp_path):
    """As root, a rename would replace /dev/null by a file."""
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_bytes)
        with atomic_write(tmp_path / "pipe") as partial:
            partial.write_text("content")
        assert read.result(timeout=10) == b"content"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with atomic_write("/dev/null") as partial:
        partial.write_text("content")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert list(tmp_path.iterdir()) == [tmp_path / "pipe"]


def test_a_full_disk_is_an_input_error_that_names_the_path(tmp_path):
    with (
        pytest.raises(InputError, match=r"cannot write .*file\.json: No space left"),
        atomic_write(tmp_path / "file.json"),
    ):
        raise OSError(28, os.strerror(28))


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot write"), atomic_write(tmp_path / "file" / "below.json"):
        pytest.fail("the body must not run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_an_input_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"), atomic_write(tmp_path / "file") as partial:
        partial.write_text("x")


def npz_bytes(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", values=np.arange(1000))
    return (tmp_path / "good.npz").read_bytes()


def test_read_npz_gives_the_arrays(tmp_path):
    npz_bytes(tmp_path)
    np.testing.assert_array_equal(read_npz(tmp_path / "good.npz")["values"], np.arange(1000))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:60] + bytes(20) + content[80:],
        lambda content: b"",
        lambda content: b"arch,accuracy\n",
    ],
    ids=["cut", "overwritten", "empty", "text"],
)
def test_a_damaged_npz_is_an_input_error(tmp_path, damage):
    path = tmp_path / "bad.npz"
    path.write_bytes(damage(npz_bytes(tmp_path)))
    with pytest.raises(InputError, match=r"bad\.npz"):
        read_npz(path)


def test_a_missing_npz_and_python_objects_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_npz(tmp_path / "none.npz")
    np.savez(tmp_path / "objects.npz", values=np.array([{}], object))
    with pytest.raises(InputError, match="holds Python objects"):
        read_npz(tmp_path / "objects.npz")


@pytest.mark.parametrize("protocol", range(3, 6))  # lower protocols write NumPy's bytes as a call of _codecs.encode
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "|u1", "|b1"])
def test_read_pickle_equals_pickle_on_plain_data(protocol, dtype):
    data = [{"arch": "|a~0|", "n": 3, "x": np.array([1.5], dtype)[0], "more": [1, None, True, 2.5]}]
    content = pickle.dumps(data, protocol)
    assert read_pickle(content, "file") == pickle.loads(content)


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def through_multiarray():
    """Return a pickle (protocol 4) that reaches os.system through a module that imports os."""
    module, name, argument = (
        b"\x8c" + bytes([len(text)]) + text.encode() for text in ("numpy.core.multiarray", "os.system", "true")
    )
    return b"\x80\x04" + module + name + b"\x93" + argument + b"\x85R."


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (pickle.dumps(Evil(os.system, "exit 1")), r"global posix\.system"),
        (pickle.dumps(Evil(eval, "1")), r"global builtins\.eval"),
        (pickle.dumps([{"arch": "x", "valacc": Evil(exec, "1")}], 0), r"global __builtin__\.exec"),
        (through_multiarray(), r"global numpy\.core\.multiarray\.os\.system"),
        (pickle.dumps(np.arange(3)), r"global numpy\._core\.(multiarray|numeric)\._"),
        (pickle.dumps(np.array([{}], object)[:1].dtype), "dtype 'O8'"),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(Vf8\nI0\nI1\ntR(I3\nV<\nNNNI-1\nI-1\nI63\ntbVx\ntR.",
            "pickle",
        ),
    ],
    ids=["os.system", "eval", "nested", "multiarray", "array", "object dtype", "short scalar"],
)
def test_a_pickle_that_asks_for_more_is_refused(content, named, monkeypatch):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("code from the file ran"))
    with pytest.raises(InputError, match=named) as error:
        read_pickle(content, "bad.p")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("bad.p")


def test_every_cut_of_a_pickle_is_an_input_error():
    content = pickle.dumps([{"arch": "a", "valacc": np.float64(1.5)}, {"arch": "b", "valacc": np.float64(2.5)}])
    for length in range(len(content)):
        with pytest.raises(InputError):
            read_pickle(content[:length], "cut.p")


def test_an_array_pickle_admits_bytes_and_no_scalars():
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = python2_pickle.array(values)
    np.testing.assert_array_equal(read_pickle(content, "file", arrays=True), values)
    np.testing.assert_array_equal(pickle.loads(content, encoding="bytes"), values)
    with pytest.raises(InputError, match="_reconstruct is refused"):
        read_pickle(content, "file")
    with pytest.raises(InputError, match="scalar is refused"):
        read_pickle(pickle.dumps(np.float64(1)), "file", arrays=True)
