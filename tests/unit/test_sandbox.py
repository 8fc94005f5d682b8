import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_core.errors import InputError, StateError
from backprop_core.sandbox import Sandbox, check_root, check_segment

BAD_NAMES = [
    "..", ".", "", "../../x", "a/b", "a\\b", "/etc", "C:x", "\\\\host\\share", "con.jsonl", "CON", "LPT9.txt", "com¹",
    "x.", "x ", "x:ads", "a\x00b", "x" * 101, "a\u202eb", "-rf", "~", "$HOME", "%TEMP%", ".hidden", "a\nb",
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


def test_the_trash_takes_the_link_and_not_its_target(box, tmp_path):
    (tmp_path / "target").write_text("kept")
    (box.root / "uploads" / "a").symlink_to(tmp_path / "target")
    box.to_trash("uploads", "a")
    assert (tmp_path / "target").read_text() == "kept"


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
