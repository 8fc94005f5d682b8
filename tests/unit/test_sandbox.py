import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_core import platform
from backprop_core.auth.audit import AuditLog
from backprop_core.errors import InputError, StateError
from backprop_core.events.journal import JournalWriter
from backprop_core.files import write_text
from backprop_core.ports import SystemClock
from backprop_core.sandbox import Sandbox, check_root, check_segment
from benchmarks.sandbox import race

BAD_NAMES = [
    "..", ".", "", "../../x", "a/b", "a\\b", "/etc", "C:x", "\\\\host\\share", "con.jsonl", "CON", "LPT9.txt", "com¹",
    "x.", "x ", "x:ads", "a\x00b", "x" * 101, "a\u202eb", "-rf", "~", "$HOME", "%TEMP%", ".hidden", "a\nb",
    "caf\u00e9", "cafe\u0301", "\u212aelvin", "aux.tar.gz", "prn", "CONOUT$",
]  # fmt: skip


@pytest.fixture
def box(tmp_path):
    box = Sandbox(tmp_path / "box")
    box.prepare()
    return box


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_unsafe_name_is_refused(box, name):
    with pytest.raises(InputError) as caught:
        box.path("uploads", name)
    assert caught.value.code == "INPUT_PATH_TRAVERSAL"


@given(st.text(alphabet=string.ascii_letters + string.digits + "._-/\\: ~$\x00\u202e", max_size=12))
def test_an_accepted_name_is_one_plain_segment(name):
    try:
        checked = check_segment(name)
    except InputError:
        return
    assert checked == name
    assert Path("root", checked).name == checked
    assert set(checked) <= set(string.ascii_letters + string.digits + "._-")


def test_a_new_file_is_written_and_read_back(box):
    with box.create("uploads", "a.jsonl") as stream:
        stream.write(b"row")
    with box.open("uploads", "a.jsonl") as stream:
        assert stream.read() == b"row"


def test_an_existing_file_is_never_overwritten(box):
    with box.create("uploads", "a"):
        pass
    with pytest.raises(InputError), box.create("uploads", "a"):
        pass


def test_a_write_that_fails_leaves_nothing(box):
    with pytest.raises(RuntimeError), box.create("uploads", "a"):
        raise RuntimeError
    assert list((box.root / "uploads").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows; run on Linux")
@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_a_link_out_of_the_sandbox_is_not_followed(box, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    if kind == "file":
        (box.root / "uploads" / "a").symlink_to(outside / "secret")
        names = ("uploads", "a")
    elif kind == "folder":
        (box.root / "uploads" / "d").symlink_to(outside)
        names = ("uploads", "d", "secret")
    else:
        (box.root / "uploads" / "a").symlink_to(outside / "new")
        names = ("uploads", "a")
    with pytest.raises(InputError), box.open(*names) as stream:
        stream.read()
    with pytest.raises(InputError), box.create(*names) as stream:
        stream.write(b"escaped")
    assert (outside / "secret").read_text() == "untouched"
    assert os.listdir(outside) == ["secret"]


@pytest.mark.skipif(os.name == "nt", reason="FIFOs are a POSIX matter; run on Linux")
def test_a_fifo_is_refused_at_once(box):
    os.mkfifo(box.root / "uploads" / "pipe")
    with pytest.raises(InputError), box.open("uploads", "pipe"):
        pass


def test_a_moved_link_stays_a_link_and_its_target_where_it_is(box, tmp_path):
    (tmp_path / "target").write_text("kept")
    (box.root / "uploads" / "a").symlink_to(tmp_path / "target")
    box.move(("uploads", "a"), ("trash", "a"))
    assert (box.root / "trash" / "a").is_symlink()
    assert (tmp_path / "target").read_text() == "kept"


def test_a_move_replaces_nothing(box):
    for name in ("a", "b"):
        with box.create("uploads", name) as stream:
            stream.write(name.encode())
    with pytest.raises(InputError):
        box.move(("uploads", "a"), ("uploads", "b"))
    assert (box.root / "uploads" / "b").read_bytes() == b"b"


def test_a_name_that_differs_in_capitals_alone_is_refused(box):
    with box.create("uploads", "run"):
        pass
    with pytest.raises(InputError, match="capitals"), box.create("uploads", "Run"):
        pass
    assert os.listdir(box.root / "uploads") == ["run"]


def test_removing_a_folder_removes_the_links_in_it_and_not_what_they_lead_to(box, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("kept")
    box.make_folders("runs", "r", "deep")
    (box.root / "runs" / "r" / "deep" / "link").symlink_to(outside)
    (box.root / "runs" / "r" / "file").symlink_to(outside / "secret")
    box.remove("runs", "r")
    assert not (box.root / "runs" / "r").exists()
    assert (outside / "secret").read_text() == "kept"


@pytest.mark.skipif(os.name == "nt", reason="mounts inside a folder are a POSIX matter; run on Linux")
def test_removing_a_folder_stops_at_a_disk_that_is_mounted_in_it(box, monkeypatch):
    box.make_folders("runs", "r", "mounted")
    (box.root / "runs" / "r" / "mounted" / "theirs").write_text("kept")
    mounted = (box.root / "runs" / "r" / "mounted").stat().st_ino
    monkeypatch.setattr(platform, "_device", lambda facts: 2 if facts.st_ino == mounted else 1)
    with pytest.raises(OSError, match="another disk"):
        box.remove("runs", "r")
    assert (box.root / "runs" / "r" / "mounted" / "theirs").read_text() == "kept"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows; run on Linux")
def test_what_is_written_through_a_held_folder_stays_in_it_when_a_link_takes_its_place(box, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with box.held("datasets") as folder:
        (box.root / "datasets").rename(box.root / "moved")
        (box.root / "datasets").symlink_to(outside)
        write_text(folder / "a", "text")
    assert os.listdir(outside) == []
    assert (box.root / "moved" / "a").read_text() == "text"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows; run on Linux")
@pytest.mark.parametrize("act", ["held", "make_folders", "remove", "move"])
def test_no_act_passes_a_link_on_the_way(box, tmp_path, act):
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (box.root / "uploads" / "d").symlink_to(outside)
    acts = {
        "held": lambda: box.held("uploads", "d").__enter__(),
        "make_folders": lambda: box.make_folders("uploads", "d", "new"),
        "remove": lambda: box.remove("uploads", "d", "inner"),
        "move": lambda: box.move(("uploads", "d", "inner"), ("trash", "inner")),
    }
    with pytest.raises(InputError):
        acts[act]()
    assert os.listdir(outside) == ["inner"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows; run on Linux")
def test_a_racing_swap_of_a_folder_for_a_link_never_lets_a_write_or_a_read_out(tmp_path):
    outcome = race(tmp_path, tries=3000)
    assert outcome.tries == 3000
    assert outcome.escapes == 0
    assert outcome.refused > 0
    assert outcome.written > 0


@pytest.mark.parametrize("opened", ["lock", "journal", "audit"])
def test_a_file_with_a_second_name_outside_is_not_written_to(tmp_path, opened):
    outside, inside = tmp_path / "outside", tmp_path / "logs" / "audit.jsonl"
    outside.write_text("untouched")
    inside.parent.mkdir()
    os.link(outside, inside)
    acts = {
        "lock": lambda: platform.FileLock(inside).acquire(),
        "journal": lambda: JournalWriter(inside, SystemClock()),
        "audit": lambda: AuditLog(tmp_path, SystemClock()).write("x", user="", peer=""),
    }
    with pytest.raises(OSError, match=r"[Ll]ink"):
        acts[opened]()
    assert outside.read_text() == "untouched"


def test_a_hard_link_as_target_is_refused_and_its_other_name_untouched(box, tmp_path):
    (tmp_path / "outside").write_text("untouched")
    os.link(tmp_path / "outside", box.root / "uploads" / "a")
    with pytest.raises(InputError), box.create("uploads", "a") as stream:
        stream.write(b"escaped")
    assert (tmp_path / "outside").read_text() == "untouched"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows; run on Linux")
def test_a_part_of_the_sandbox_that_is_a_link_is_refused_at_the_start(tmp_path):
    (tmp_path / "box").mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "box" / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError) as caught:
        Sandbox(tmp_path / "box").prepare()
    assert caught.value.code == "SANDBOX_NOT_WRITABLE"
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX folders; the Windows ones are in the same table")
@pytest.mark.parametrize(
    "root", ["/", "/etc", "/etc/x", "/usr/lib", "/proc", "/dev/shm/x", "~", "~/.ssh", "~/.config/gcloud/x"]
)
def test_a_folder_that_must_not_be_the_root_is_refused(root):
    with pytest.raises(InputError) as caught:
        check_root(Path(root).expanduser())
    assert caught.value.code == "UI_OUTPUT_DIR_FORBIDDEN"


def test_a_link_to_a_forbidden_folder_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(InputError):
        check_root(tmp_path / "link")


def test_the_default_folder_in_the_home_is_allowed():
    check_root(Path.home() / ".backpropagate" / "ui-outputs")


@pytest.mark.skipif(os.name == "nt", reason="file modes are a POSIX matter; run on Linux")
def test_a_folder_that_others_may_write_is_refused(tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "box").chmod(0o777)
    with pytest.raises(StateError) as caught:
        Sandbox(tmp_path / "box").prepare()
    assert caught.value.code == "SANDBOX_NOT_WRITABLE"


def test_a_file_as_root_is_refused(tmp_path):
    (tmp_path / "box").write_text("")
    with pytest.raises(StateError):
        Sandbox(tmp_path / "box").prepare()


def test_a_missing_folder_is_made_with_those_above_it(tmp_path):
    Sandbox(tmp_path / "missing" / "box").prepare()
    assert (tmp_path / "missing" / "box" / "runs").is_dir()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path):
    (tmp_path / "box").mkdir(mode=0o700)
    os.chown(tmp_path / "box", 12345, 12345)
    with pytest.raises(StateError, match="another user"):
        Sandbox(tmp_path / "box").prepare()


def test_the_installed_package_is_refused_as_root():
    with pytest.raises(InputError):
        check_root(Path(platform.__file__).parent / "x")
