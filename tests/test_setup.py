"""What is named, locked and shipped agrees; `make setup` builds it; nothing reaches the network."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from types import SimpleNamespace
from unittest.mock import Mock

import nbclient
import nbformat
import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from align_edu.io import InputError, _container_quota, control_groups
from align_edu.lab import doctor, jail
from align_edu.lab.doctor import Finding, diagnose, print_report
from tests.samples import ROOT, cases

MODULE_OF = {"PIL": "pillow", "faiss": "faiss-cpu", "open_clip": "open-clip-torch"}
MODULE_OF |= {"sklearn": "scikit-learn", "torch_xla": "torch-xla", "yaml": "pyyaml"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
PIP = next(part["pip"] for part in CONDA if isinstance(part, dict))
PYTHON = (ROOT / "tests" / "stand_in_python.sh").read_text()
OUTSIDE = ("192.0.2.1", 80)  # a documentation address (RFC 5737): nobody answers there
ATTEMPT = f"import socket; socket.create_connection({OUTSIDE!r}, timeout=2)"


def named(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if not line.startswith(("#", "-"))]
    return {canonicalize_name(each.name): each for each in found}


WANTED = named([*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])])
LOCKED = named((ROOT / "requirements.lock").read_text().splitlines())


def exact(requirement: Requirement) -> str:
    (bound,) = requirement.specifier
    assert bound.operator == "==", requirement
    return bound.version


def test_the_lock_holds_exact_versions_no_address_and_every_wanted_package_in_its_range():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--index|--find-links|@ ", text)
    assert len({name: exact(each) for name, each in LOCKED.items()}) > 100
    for name, each in WANTED.items():
        assert each.specifier.contains(exact(LOCKED[name])), each


def test_conda_has_the_same_python_and_top_level_packages_at_the_same_versions():
    found = {name: exact(each) for name, each in named(PIP).items()}
    assert found == {name: exact(LOCKED[name]) for name in WANTED}
    options = [line for line in PIP if line.startswith("-")]
    assert options == ["--constraint requirements.lock", "--editable ."]
    assert "python=3.11" in CONDA and PROJECT["requires-python"] == ">=3.11,<3.14"


def test_torch_and_its_companions_fit_and_xla_is_left_out_where_it_has_no_wheel():
    companions = ("torch", "torchvision", "torch-xla")
    assert [exact(LOCKED[name]) for name in companions] == ["2.9.0", "0.24.0", "2.9.0"]
    for found in (WANTED, LOCKED, named(PIP)):
        assert (marker := found["torch-xla"].marker) is not None
        assert marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
        assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})


def imported_packages(folder: str) -> set[str]:
    """Packages that the Python files of a folder import, without Python's own and ours."""
    own = {"align_edu", "tests", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module or "")
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - own
    return {canonicalize_name(MODULE_OF.get(name, name)) for name in foreign}


def test_what_is_imported_is_asked_for_and_every_core_dependency_is_imported():
    imported = imported_packages("align_edu")
    assert imported | imported_packages("tests") <= set(WANTED)
    assert set(named(PROJECT["dependencies"])) <= imported


def test_the_installed_package_is_this_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert metadata.version("align-edu") == citation["version"] == PROJECT["version"]


def test_the_wheel_holds_the_package_and_the_course_and_keeps_what_a_student_has_begun(tmp_path):
    wheel, content = tmp_path / "site", tmp_path / "content"  # pip unpacks it, as here
    for file in WheelBuilder(str(ROOT)).build(directory=str(wheel), versions=["standard"]):
        zipfile.ZipFile(file).extractall(wheel)
    for path in (ROOT / "align_edu").rglob("*"):
        assert path.suffix == ".pyc" or (wheel / path.relative_to(ROOT)).exists(), path
    begun = content / "mine" / "notebooks" / "00_start_here.ipynb"
    begun.parent.mkdir(parents=True)
    begun.write_text("mine")
    # The last two are what a notebook does that was uploaded alone, as to Colab.
    code = """import align_edu.cli, align_edu.lab as lab; print(align_edu.__file__)
    align_edu.cli.main(['lab', 'mine', '--only-copy'])
    lab.start('05')
    lab.model()"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'tests' / 'network_cut'}:{wheel}"}
    command = [sys.executable, "-c", re.sub("\n +", "\n", code)]
    options = {"cwd": content, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    for words in (str(wheel), "mine/notebooks", "data samples: ../data_samples", "the bundled one"):
        assert words in done.stdout
    assert begun.read_text() == "mine"
    for part in ("notebooks/05_one_shared_space.ipynb", "data_samples/toy_model/config.json"):
        assert (content / "mine" / part).read_bytes() == (ROOT / part).read_bytes()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_builds_once_renews_a_changed_lock_and_mends_a_moved_folder(tmp_path):
    folder, python, log = tmp_path / "a clone (with spaces)", tmp_path / "python3", tmp_path / "log"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)

    def make(folder=folder, old=0):
        log.write_text("")
        python.write_text(PYTHON.format(log=log, fail=tmp_path / "fail", old=old))
        python.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}  # no HOME
        options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run(["make", "setup"], **options)
        return done, log.read_text().splitlines()

    def begins_anew(calls):
        return any("venv --clear" in line for line in calls)

    refused, _ = make(old=1)
    assert refused.returncode != 0 and "PYTHON=python3.12" in refused.stderr
    assert not (folder / ".venv").exists()
    (tmp_path / "fail").touch()
    failed, calls = make()
    assert failed.returncode != 0 and "about 5 minutes, 8 GB" in failed.stdout
    assert begins_anew(calls) and not (folder / ".venv" / ".ready").exists()
    (tmp_path / "fail").unlink()
    mended, calls = make()
    assert mended.returncode == 0 and not begins_anew(calls)
    installs = [line for line in calls if " install " in line]
    assert "--no-deps --no-compile --requirement requirements.lock" in installs[0]
    assert installs[1].endswith("--editable .")
    again, calls = make()
    assert (again.returncode, calls) == (0, [])
    later = (folder / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(folder / "requirements.lock", (later, later))
    renewed, calls = make()
    assert renewed.returncode == 0 and any("requirements.lock" in line for line in calls)
    assert not begins_anew(calls)
    moved = folder.rename(tmp_path / "elsewhere")
    done, calls = make(moved)
    assert done.returncode == 0 and any(line.endswith("--editable .") for line in calls)
    assert (moved / ".venv" / ".ready").read_text() == str(moved)


@pytest.fixture(scope="module")
def here() -> list[Finding]:
    return diagnose()


@pytest.fixture(autouse=True)
def pip(here, monkeypatch):
    """What `pip check` seems to find, once it has looked at what is here."""
    seeming = SimpleNamespace(returncode=0, stdout="No broken requirements found.\n", stderr="")
    monkeypatch.setattr(doctor, "subprocess", SimpleNamespace(run=lambda *_, **__: seeming))
    return seeming


@pytest.fixture
def versions(monkeypatch):
    """Change what seems to be installed; None means not installed."""
    seeming: dict[str, str | None] = {}
    real = metadata.version

    def version(name: str) -> str:
        found = seeming[name] if name in seeming else real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    return seeming


def finding(name: str) -> Finding:
    (found,) = (each for each in diagnose() if each.name == name)
    return found


def test_it_looks_at_everything_the_course_needs_and_all_is_well_here(here):
    assert [each for each in here if not each.ok] == []
    needed = {"python", "torch", "torchvision", "transformers", "torch_xla", "timm", "faiss-cpu"}
    machine = {"c++ compiler", "cores", "memory", "disk", "ipywidgets", "network", "bubblewrap"}
    assert needed | machine | {"pip check"} <= {each.name.lower() for each in here}


@cases(
    "name, version, detail",
    *(("torch", "2.8.0", "2.8.0, but"), ("torch", "2.16.1", "2.16.1, but")),
    *(("torch", "2.9.0+cu128", ""), ("transformers", "4.57.0", "4.57.0, but")),
    ("timm", None, "not installed"),
)
def test_a_missing_or_wrong_package_is_named_with_the_remedy(versions, name, version, detail):
    versions[name] = version
    found = finding(name)
    assert found.ok == (not detail)  # a local build of the right version is fine
    assert found.detail.startswith(detail) and ("make setup" in found.remedy) == bool(detail)


def test_a_missing_package_and_builds_for_another_torch_are_found(versions, monkeypatch):
    versions["torch-xla"] = None
    assert finding("torch_xla").ok
    versions.update({"torch-xla": "2.9.0", "torch": "2.10.0"})
    assert not finding("torch_xla").ok and "2.10.0" in finding("torch_xla").detail
    refuse = Mock(side_effect=RuntimeError("operator torchvision::nms does not exist"))
    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=refuse))
    assert not finding("torchvision").ok and "nms does not exist" in finding("torchvision").detail
    monkeypatch.setattr(metadata, "requires", Mock(side_effect=metadata.PackageNotFoundError()))
    assert finding("align-edu").detail == "not installed"


def test_another_python_and_conflicts_between_packages_are_reported(pip, monkeypatch):
    for version in ((3, 10, 4), (3, 14, 0)):
        seeming = SimpleNamespace(version_info=version, executable=sys.executable)
        monkeypatch.setattr(doctor, "sys", seeming)
        assert not finding("Python").ok and "3.11 to 3.13" in finding("Python").remedy
    conflicts = "torchvision 0.24.0 requires torch, which is not installed.\nb 1 has no c.\n"
    pip.returncode, pip.stdout = 1, conflicts
    found = finding("pip check")
    assert not found.ok and "make setup" in found.remedy
    assert found.detail.endswith("torch, which is not installed (and 1 more)")
    pip.returncode, pip.stdout, pip.stderr = 1, "", "python: No module named pip"
    assert finding("pip check").ok


def test_what_is_only_slower_or_only_for_grading_is_fine_and_has_a_remedy(monkeypatch):
    missing = Mock(side_effect=InputError("bubblewrap is missing: install it"))
    monkeypatch.setattr(jail, "find_namespaces", missing)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    remedies = (("bubblewrap", "install it"), ("C++ compiler", "g++"), ("cores", "twice"))
    for name, words in remedies:
        assert finding(name).ok and words in finding(name).remedy


def test_memory_and_cores_are_those_of_the_narrowest_control_group(tmp_path, monkeypatch):
    inner, old = tmp_path / "cg" / "slice" / "student", tmp_path / "v1"
    for folder in (inner, old / "memory"):
        folder.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slice/student\n")
    groups = control_groups(tmp_path / "cg", tmp_path / "own")
    assert groups == [inner, inner.parent, inner.parent.parent]
    monkeypatch.setattr(doctor, "control_groups", lambda: groups)
    assert _container_quota(groups) is None and doctor._free_memory() is not None
    for name, text in {
        "cg/slice/student/memory.max": "max", "cg/slice/student/memory.current": 0,
        "cg/slice/student/cpu.max": "max 100000", "cg/slice/cpu.max": "150000 100000",
        "cg/slice/memory.max": 2**29, "cg/slice/memory.current": 2**28,
        "cg/slice/memory.stat": f"anon 1\ninactive_file {2**27}",
        "v1/memory/memory.limit_in_bytes": 2**28, "v1/memory/memory.usage_in_bytes": 2**27,
        "v1/memory/memory.stat": "",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(f"{text}\n" if text != "" else "")
    assert doctor._free_memory() == pytest.approx(0.375)  # GiB: 0.5 - 0.25 + 0.125
    assert _container_quota(groups) == 1.5
    monkeypatch.setattr(doctor, "control_groups", lambda: [old])
    assert doctor._free_memory() == pytest.approx(0.125)


def test_the_report_has_one_line_a_finding_and_says_whether_all_is_well(capsys, monkeypatch):
    assert str(Finding("cores", True, "2")) == "OK      cores: 2"
    assert print_report()
    assert len(capsys.readouterr().out.splitlines()) == len(diagnose())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**28))
    monkeypatch.setattr(doctor, "_free_memory", lambda: 0.5)
    assert not print_report()
    printed = capsys.readouterr().out
    assert "MEND    memory: 0.5 GiB free, 2 needed; close other programs" in printed
    assert "MEND    disk: 0.2 GiB free" in printed
    monkeypatch.setattr(doctor, "_free_memory", lambda: None)  # the system does not say
    assert finding("memory").ok


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where the attempts of these tests are written, so that they do not fail the run."""
    path = tmp_path / "refused.txt"
    monkeypatch.setenv("ALIGN_EDU_NETWORK_LOG", str(path))
    return path


@cases(
    "attempt, words",
    (lambda outlet: socket.create_connection(OUTSIDE, timeout=2), "192.0.2.1"),
    (lambda outlet: socket.getaddrinfo("example.org", 443), "example.org"),
    (lambda outlet: outlet.sendto(b"hello", OUTSIDE), "192.0.2.1"),
)
def test_an_attempt_fails_in_the_test_process_and_names_who_asked(attempt, words, log):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet,
        pytest.raises(ConnectionError, match=rf"{words}.*test_setup\.py"),
    ):
        attempt(outlet)
    assert words in log.read_text()


def test_an_attempt_fails_in_a_child_process_and_is_written_down_where_a_library_hides_it(log):
    hidden = f"import contextlib\nwith contextlib.suppress(OSError):\n    {ATTEMPT}"
    assert subprocess.run([sys.executable, "-c", hidden]).returncode == 0
    assert "192.0.2.1" in log.read_text()


def test_a_connection_fails_in_a_notebook_kernel(log):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ATTEMPT)])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="NetworkIsCut"):
        nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    assert "192.0.2.1" in log.read_text()
