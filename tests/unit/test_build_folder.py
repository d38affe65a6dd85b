# SPDX-License-Identifier: Apache-2.0
"""Build folders: stages appear whole or not at all, reruns resume, damage is noticed, nobody else's folder is touched."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from toolchain.build.folder import BuildFolder
from toolchain.errors import InputError, UsageError


class Work:
    """Counts its runs and writes one file."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.runs += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "artefact.txt").write_text("whole")
        (folder / "rubbish.o").write_text("object")
        return {"answer": 42}


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    work = Work()
    with BuildFolder(tmp_path / "b", "m").open() as folder:
        first = folder.stage("rtl", {"a": 1}, work)
        second = folder.stage("rtl", {"a": 1}, work)
        assert (work.runs, first.cached, second.cached, second.facts) == (1, False, True, {"answer": 42})
        third = folder.stage("rtl", {"a": 2}, work)
        assert (work.runs, third.cached) == (2, False)


def test_only_what_is_kept_stays(tmp_path: Path) -> None:
    with BuildFolder(tmp_path / "b", "m").open() as folder:
        result = folder.stage("rtl", {}, Work(), keep=lambda path: path.suffix == ".txt")
        assert sorted(p.name for p in result.folder.rglob("*") if p.is_file()) == ["artefact.txt", "stage.json"]
        assert folder.stage("rtl", {}, Work()).cached


@pytest.mark.parametrize("damage", ["change", "truncate", "remove", "add", "record"])
def test_a_damaged_stage_is_run_again(tmp_path: Path, damage: str) -> None:
    work = Work()
    with BuildFolder(tmp_path / "b", "m").open() as folder:
        result = folder.stage("rtl", {}, work)
        artefact = result.folder / "sub" / "artefact.txt"
        match damage:
            case "change":
                artefact.write_text("wh0le")
            case "truncate":
                artefact.write_text("")
            case "remove":
                artefact.unlink()
            case "add":
                (result.folder / "other.txt").write_text("")
            case "record":
                (result.folder / "stage.json").write_text("{")
        assert not folder.stage("rtl", {}, work).cached
        assert artefact.read_text() == "whole"


def test_a_failed_stage_leaves_the_earlier_one_and_its_log(tmp_path: Path) -> None:
    def fails(folder: Path) -> dict[str, Any]:
        (folder / "tool.log").write_text("what went wrong")
        raise RuntimeError

    with BuildFolder(tmp_path / "b", "m").open() as folder:
        folder.stage("rtl", {"a": 1}, Work())
        with pytest.raises(RuntimeError):
            folder.stage("rtl", {"a": 2}, fails)
        assert (tmp_path / "b/rtl/sub/artefact.txt").read_text() == "whole"
        assert (tmp_path / "b/.partial/rtl/tool.log").read_text() == "what went wrong"
        assert folder.stage("rtl", {"a": 1}, Work()).cached
        assert not folder.stage("rtl", {"a": 2}, Work()).cached


def test_other_models_and_other_peoples_folders(tmp_path: Path) -> None:
    with BuildFolder(tmp_path / "b", "failed").open():
        pass
    with BuildFolder(tmp_path / "b", "first").open() as folder:
        folder.stage("rtl", {}, Work())
    with pytest.raises(UsageError) as caught, BuildFolder(tmp_path / "b", "second").open():
        pass
    assert str(caught.value) == (
        f"output folder {tmp_path}/b holds the build of model 'first', not of 'second'; "
        "give --out another folder, or remove this one first"
    )
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    with (
        pytest.raises(UsageError, match="is not empty and was not made by bitwright"),
        BuildFolder(tmp_path / "thesis", "m").open(),
    ):
        pass
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"), BuildFolder(tmp_path / "file", "m").open():
        pass


@pytest.mark.parametrize(("parent", "answer"), [
    # The kernel's own file systems, in which nobody makes a folder, root included.
    ("/proc", "No such file or directory"),
    ("/sys", "Operation not permitted|Permission denied|Read-only file system"),
])  # fmt: skip
def test_a_folder_that_cannot_be_made(parent: str, answer: str) -> None:
    with (
        pytest.raises(
            InputError, match=rf"^output folder {parent}/b cannot be made: ({answer}); give --out a folder that can"
        ),
        BuildFolder(Path(parent) / "b", "m").open(),
    ):
        pass


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """With the rights of nobody where the tests run as root, which writes anywhere."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_read_only_parent_and_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock  # noqa: F401  (nobody might not read it)

    # Nobody does not reach a folder below root's, but is in it.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o555)
    tmp_path.chmod(0o555)
    for name, what in (("new", "made"), ("there", "written")):
        with pytest.raises(InputError) as caught, as_somebody_else(), BuildFolder(Path(name), "m").open():
            pass
        assert str(caught.value) == (
            f"output folder {name} cannot be {what}: Permission denied; give --out a folder that can be written"
        )
    tmp_path.chmod(0o755)


def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    """The identity's temporary file leads to the device that is always full."""
    temporary = tmp_path / "b" / f".build.json.{os.getpid()}"
    temporary.parent.mkdir()
    temporary.symlink_to("/dev/full")
    with pytest.raises(InputError) as caught, BuildFolder(tmp_path / "b", "m").open():
        pass
    assert str(caught.value) == (
        f"output folder {tmp_path}/b cannot be written: No space left on device; "
        "make room on the disk, or give --out a folder on another one"
    )
    assert [path.name for path in (tmp_path / "b").iterdir() if path.name != ".lock"] == []


def test_a_disk_that_fills_gives_its_room_back(tmp_path: Path) -> None:
    def fills(folder: Path) -> dict[str, Any]:
        (folder / "large").write_text("x" * 100)
        Path("/dev/full").write_text("x")
        return {}

    with BuildFolder(tmp_path / "b", "m").open() as folder:
        folder.stage("rtl", {"a": 1}, Work())
        with pytest.raises(InputError) as caught:
            folder.stage("rtl", {"a": 2}, fills)
        assert str(caught.value) == (
            f"stage rtl in {tmp_path}/b: No space left on device; nothing of it was kept; "
            "make room on the disk, or give --out a folder on another one"
        )
        assert not any((tmp_path / "b" / ".partial").iterdir())
        assert folder.stage("rtl", {"a": 1}, Work()).cached


def test_a_disk_that_is_full_at_the_end(tmp_path: Path) -> None:
    """What is written beside the stages, such as the report; an error of another folder stays what it is."""
    with pytest.raises(InputError, match=r"b cannot be written: No space left on device; make room"):
        write_in_a_build(tmp_path, Path("/dev/full"))
    with pytest.raises(OSError, match=r"(Errno 1|Errno 13|Errno 30)\b.*/sys/new"):
        write_in_a_build(tmp_path, Path("/sys/new"))


def write_in_a_build(folder: Path, path: Path) -> None:
    with BuildFolder(folder / "b", "m").open():
        path.write_text("x")


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """Of the system itself: files of a process may have no byte, or a hundred."""
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        import filelock
        from toolchain.build.folder import BuildFolder
        from toolchain.errors import InputError

        def work(folder):
            (folder / "artefact").write_text("x" * 1000)

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        try:
            with BuildFolder(Path(sys.argv[1]), "m").open() as folder:
                folder.stage("large", {}, work)
        except InputError as error:
            sys.stdout.write(str(error))
        """
    )
    for limit, where in (
        ("0", f"output folder {tmp_path}/b cannot be written: File too large; "),
        ("100", f"stage large in {tmp_path}/b: File too large; nothing of it was kept; "),
    ):
        command = [sys.executable, "-c", script, str(tmp_path / "b"), limit]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        output, errors = process.communicate()
        assert (output, errors) == (f"{where}make room on the disk, or give --out a folder on another one", "")
        left = {p.name for p in (tmp_path / "b").rglob("*")}
        assert left <= {".lock", "build.json", ".partial"}


def test_two_builds_at_once(tmp_path: Path) -> None:
    with BuildFolder(tmp_path / "b", "m").open():
        code = (
            "import sys; from pathlib import Path; from toolchain.build.folder import BuildFolder\n"
            "from toolchain.errors import UsageError\n"
            "try:\n"
            "    with BuildFolder(Path(sys.argv[1]), 'm').open(): print('entered')\n"
            "except UsageError as error: print(error)\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "b"], capture_output=True, text=True, check=True
        )
    assert answer.stdout.startswith("another build is running in")


def test_a_build_killed_before_it_had_an_identity_resumes(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".build.json.4711").write_text('{"form')
    with BuildFolder(folder, "m").open():
        assert json.loads((folder / "build.json").read_text())["model"] == "m"


@pytest.mark.parametrize("milliseconds", [150, 400, 700, 1000])
def test_a_killed_build_resumes(tmp_path: Path, milliseconds: int) -> None:
    """Killed at some point of writing slowly; whatever is there afterwards, a rerun ends with the whole artefact."""
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from toolchain.build.folder import BuildFolder

        def work(folder):
            with (folder / "artefact").open("w") as stream:
                for _ in range(40):
                    stream.write("x"); stream.flush(); time.sleep(0.02)
            return {"length": 40}

        print("started", flush=True)
        with BuildFolder(Path(sys.argv[1]), "m").open() as folder:
            result = folder.stage("slow", {}, work)
            assert len((result.folder / "artefact").read_text()) == 40
        print("finished", flush=True)
        """
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "b")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    record = tmp_path / "b" / "slow" / "stage.json"
    if record.exists():
        assert json.loads(record.read_text())["facts"] == {"length": 40}
    again = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "finished" in again.stdout
