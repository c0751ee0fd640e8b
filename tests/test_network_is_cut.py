"""The network cut: no test, no child process and no notebook kernel reaches out."""

import socket
import subprocess
import sys

import pytest

OUTSIDE = ("192.0.2.1", 80)  # a documentation address (RFC 5737): nobody answers there
ATTEMPT = f"import socket; socket.create_connection({OUTSIDE!r}, timeout=2)"


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where the attempts of these tests are written, so that they do not fail the run."""
    path = tmp_path / "refused.txt"
    monkeypatch.setenv("ALIGN_EDU_NETWORK_LOG", str(path))
    return path


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda outlet: socket.create_connection(OUTSIDE, timeout=2), "192.0.2.1"),
        (lambda outlet: socket.getaddrinfo("example.org", 443), "example.org"),
        (lambda outlet: outlet.sendto(b"hello", OUTSIDE), "192.0.2.1"),
    ],
)
def test_an_attempt_fails_in_the_test_process_and_names_who_asked(attempt, words, log):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet,
        pytest.raises(ConnectionError, match=rf"{words}.*test_network_is_cut\.py"),
    ):
        attempt(outlet)
    assert words in log.read_text()


def test_an_attempt_fails_in_a_child_process_and_is_written_down_where_a_library_hides_it(log):
    hidden = f"import contextlib\nwith contextlib.suppress(OSError):\n    {ATTEMPT}"
    assert subprocess.run([sys.executable, "-c", hidden]).returncode == 0
    assert "192.0.2.1" in log.read_text()


def test_a_connection_fails_in_a_notebook_kernel(log):
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ATTEMPT)])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="NetworkIsCut"):
        nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    assert "192.0.2.1" in log.read_text()
