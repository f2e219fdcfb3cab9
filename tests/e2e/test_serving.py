"""The server of docs/export.md answers requests."""

import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture
def program(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    found: dict = {"__name__": "page"}
    for block in blocks[:2]:
        exec(compile(block, str(PAGE), "exec"), found)
    found["Handler"].log_message = lambda *_: None
    return found


def answer(program, body):
    """Of one request, which another thread sends."""
    with program["HTTPServer"](("127.0.0.1", 0), program["Handler"]) as server:
        found = []

        def ask():
            url = f"http://127.0.0.1:{server.server_port}"
            try:
                with urllib.request.urlopen(url, body, timeout=60) as reply:
                    found.append((reply.status, json.load(reply)))
            except urllib.error.HTTPError as error:
                found.append((error.code, json.load(error)))
                error.close()

        client = threading.Thread(target=ask)
        client.start()
        server.handle_request()
        client.join()
    return found[0]


def test_the_server_answers_with_a_digit_for_each_image(program):
    images = [[[[0.0]] * 28] * 28] * 3
    status, digits = answer(program, json.dumps(images).encode())
    assert status == 200
    assert len(digits) == 3
    assert set(digits) <= set(range(10))


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"[[1.0]]", "images must be float32 of shape"), (b"no JSON", "Expecting value")],
)
def test_the_server_says_what_is_wrong_with_a_request(program, body, message):
    status, text = answer(program, body)
    assert status == 400
    assert message in text
