"""The server of an artifact's page: what it hands out, to whom, and that it takes nothing in."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import page_visits
import pytest
from page_visits import serving

from limbeck.cli import main
from limbeck.errors import ModelError, StorageError
from limbeck.page.server import HEADERS, WEB, Server, page


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_visits.picture(tmp_path_factory.mktemp("picture"))


class TestServer:
    def asked(
        self, server: Server, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def test_hands_out_what_is_on_its_list_and_nothing_else(self, picture: Path, tmp_path: Path) -> None:
        with serving(page(picture, runtime=tmp_path)) as server:
            root = f"/{server.token}/"
            assert self.asked(server, root)[2] == (WEB / "index.html").read_bytes()
            status, headers, body = self.asked(server, f"{root}artifact.limbeck")
            assert (status, body) == (200, picture.read_bytes())
            assert {name: headers[name] for name in HEADERS} == HEADERS
            assert self.asked(server, f"{root}main.js")[1]["Content-Type"] == "text/javascript; charset=utf-8"
            assert self.asked(server, f"{root}main.js", "HEAD")[2] == b""
            for path in (
                "/",
                "/main.js",
                f"/{'x' * len(server.token)}/main.js",
                f"{root}../server.py",
                f"{root}%2e%2e/server.py",
                f"{root}main.js?data=1",
                f"{root}onnxruntime-web/ort.wasm.min.mjs",
                f"{root}{picture}",
            ):
                assert self.asked(server, path)[0] == 404, path

    def test_takes_nothing_in(self, picture: Path) -> None:
        with serving(page(picture)) as server:
            root = f"/{server.token}/"
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                assert self.asked(server, root, method)[0] == 501
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
            connection.request("GET", root, body=b"a person's data")
            assert connection.getresponse().status == 400
            connection.close()

    def test_answers_to_its_own_name_alone(self, picture: Path) -> None:
        """A foreign name that was made to mean 127.0.0.1 reaches the port, and gets nothing."""
        with serving(page(picture)) as server:
            root, port = f"/{server.token}/", server.server_address[1]
            assert self.asked(server, root, Host=f"evil.example:{port}")[0] == 403
            assert self.asked(server, root, Host=f"localhost:{port}")[0] == 200
            assert server.server_address[0] == "127.0.0.1"

    def test_no_page_is_like_another(self, picture: Path) -> None:
        one, other = page(picture), page(picture)
        assert one.token != other.token and len(one.token) >= 22
        with pytest.raises(StorageError, match="no page on port"):
            page(picture, port=one.server_address[1])
        one.server_close()
        other.server_close()

    def test_a_damaged_artifact_gets_no_page(self, picture: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.limbeck").write_bytes(picture.read_bytes()[:-9])
        with pytest.raises(ModelError, match="damaged"):
            page(tmp_path / "cut.limbeck")

    def test_every_file_of_the_page_is_its_own(self) -> None:
        """No address, no inline script or style, and every import is a file beside it."""
        for path in WEB.iterdir():
            text = path.read_text()
            addresses = set(re.findall(r"https?://[\w./-]+", text))
            assert addresses <= {"http://www.w3.org/2000/svg", "http://yann.lecun.com/exdb/mnist/"}, path
            for name in re.findall(r'from "([^"]+)"', text):
                assert (WEB / name).is_file(), f"{path}: {name}"
            assert "innerHTML" not in text and " style=" not in text and "eval(" not in text
            assert len(text.splitlines()) <= 400 and max(map(len, text.splitlines())) <= 132, path


def heeding_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class TestCommandLine:
    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
        with pytest.raises(SystemExit) as left:
            main(["serve", *arguments])
        assert left.value.code == code
        return capsys.readouterr().err

    def test_bad_input(self, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "cannot be read" in self.said(capsys, str(tmp_path / "nowhere.limbeck"), code=4)
        assert "port" in self.said(capsys, str(picture), "--port", "99999", code=2)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert f"no page on port {port}" in self.said(capsys, str(picture), "--port", port, code=8)

    def test_serves_until_it_is_told_to_end(self, picture: Path, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "limbeck", "serve", str(picture), "--json", "--runtime", str(tmp_path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding_ctrl_c
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            said = json.loads(process.stdout.readline())
            assert said["runtime"] is False and re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{22}/", said["address"])
            connection = http.client.HTTPConnection(said["address"].split("/")[2], timeout=10)
            connection.request("GET", "/" + said["address"].split("/", 3)[3])
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert "make page" in process.stderr.read()
