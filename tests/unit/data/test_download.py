"""`download=True`, against a server on this machine."""

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from lucid_fn import data
from lucid_fn.data import mnist
from lucid_fn.data.download import Download, fetch

CONTENT = bytes(range(256)) * 20
FILE = Download("blob.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def mirror(tmp_path):
    """A served folder and its URL."""
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield served, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_file_arrives_unchanged_and_alone(mirror, tmp_path):
    served, url = mirror
    (served / FILE.name).write_bytes(CONTENT)
    path = fetch(FILE, (url,), tmp_path / "new" / "folder", "test")
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == [FILE.name]


def test_the_second_mirror_is_asked_when_the_first_fails(mirror, tmp_path):
    served, url = mirror
    (served / FILE.name).write_bytes(CONTENT)
    path = fetch(FILE, (url + "absent/", url), tmp_path, "test")
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (CONTENT[:-1] + b"?", "sent a file with sha256 .*, not " + FILE.checksum),
        (CONTENT[:100], "sent 100 of 5120 bytes"),
        (CONTENT + b"?", "sent more than 5120 bytes"),
    ],
)
def test_a_changed_file_is_refused_and_nothing_is_left(mirror, tmp_path, sent, message):
    served, url = mirror
    (served / FILE.name).write_bytes(sent)
    folder = tmp_path / "out"
    with pytest.raises(OSError, match=message):
        fetch(FILE, (url,), folder, "test")
    assert not list(folder.iterdir())


def test_the_error_lists_what_each_mirror_did(mirror, tmp_path):
    _, url = mirror
    mirrors = (url, "http://127.0.0.1:1/")
    with pytest.raises(
        OSError, match=r"(?s)could not download blob.bin; .*404.*127\.0\.0\.1:1/"
    ):
        fetch(FILE, mirrors, tmp_path, "load_test")


def test_load_mnist_fetches_only_the_files_that_are_missing(
    mirror, mnist_folder, monkeypatch
):
    served, url = mirror
    name = "train-labels-idx1-ubyte"
    content = (mnist_folder / name).read_bytes()
    (mnist_folder / name).unlink()
    (served / name).write_bytes(content)
    file = Download(name, len(content), hashlib.sha256(content).hexdigest())
    files = [file if f.name == name + ".gz" else f for f in mnist._FILES]
    monkeypatch.setattr(mnist, "_FILES", tuple(files))
    monkeypatch.setattr(mnist, "MNIST_MIRRORS", (url,))
    dataset = data.load_mnist(mnist_folder, download=True)
    assert dataset.train_labels.tolist() == list(range(7))
    assert (mnist_folder / name).read_bytes() == content


def test_nothing_is_fetched_without_being_asked(mirror, tmp_path, monkeypatch):
    _, url = mirror
    monkeypatch.setattr(mnist, "MNIST_MIRRORS", (url,))
    with pytest.raises(FileNotFoundError, match="download=True"):
        data.load_mnist(tmp_path / "none")
    assert not Path(tmp_path / "none").exists()


def test_the_mirrors_are_encrypted():
    assert all(url.startswith("https://") for url in data.MNIST_MIRRORS)
    assert all(url.endswith("/") for url in data.MNIST_MIRRORS)
