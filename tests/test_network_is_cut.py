"""The network cut: no test, no child process and no notebook kernel reaches out."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

OUTSIDE = ("192.0.2.1", 80)  # a documentation address (RFC 5737): nobody answers there
ATTEMPT = f"import socket; socket.create_connection({OUTSIDE!r}, timeout=2)"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the attempts of these tests are written, so that they do not fail the run."""
    path = tmp_path / "refused.txt"
    monkeypatch.setenv("ALIGN_EDU_NETWORK_LOG", str(path))
    return path


def test_a_connection_fails_in_the_test_process_and_names_who_asked(log: Path) -> None:
    with pytest.raises(ConnectionError, match=r"192\.0\.2\.1.*test_network_is_cut\.py"):
        socket.create_connection(OUTSIDE, timeout=2)
    assert "192.0.2.1" in log.read_text()


def test_a_name_is_not_looked_up(log: Path) -> None:
    with pytest.raises(ConnectionError, match="example.org"):
        socket.getaddrinfo("example.org", 443)
    assert "example.org" in log.read_text()


def test_a_datagram_is_not_sent(log: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet,
        pytest.raises(ConnectionError),
    ):
        outlet.sendto(b"hello", OUTSIDE)
    assert "192.0.2.1" in log.read_text()


def test_a_connection_fails_in_a_child_process(log: Path) -> None:
    child = subprocess.run([sys.executable, "-c", ATTEMPT], capture_output=True, text=True)
    assert child.returncode != 0
    assert "NetworkIsCut" in child.stderr
    assert "192.0.2.1" in log.read_text()


def test_an_attempt_that_a_library_hides_is_still_written_down(log: Path) -> None:
    hidden = f"try:\n    {ATTEMPT.replace('; ', chr(10) + '    ')}\nexcept OSError:\n    pass"
    child = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert child.returncode == 0
    assert "192.0.2.1" in log.read_text()


def test_a_connection_fails_in_a_notebook_kernel(log: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ATTEMPT)])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="NetworkIsCut"):
        nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    assert "192.0.2.1" in log.read_text()


def test_loopback_still_works() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname(), timeout=2) as client:
            assert client.getpeername() == server.getsockname()


def test_children_are_told_that_the_hub_is_offline_and_that_there_is_no_window() -> None:
    ask = "import os; print(os.environ['HF_HUB_OFFLINE'], os.environ['MPLBACKEND'])"
    child = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert child.stdout.split() == ["1", "agg"]
    assert os.environ["HF_HUB_OFFLINE"] == "1"
