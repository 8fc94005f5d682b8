import hashlib
import os

import pytest

from backprop_core import files
from backprop_core.errors import RunError


def test_a_write_replaces_the_file_whole(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"n": 1})
    files.write_json(path, {"n": 2})
    assert files.read_json(path) == {"n": 2}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_writer(path) as stream:
        stream.write(b"half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="file modes are a POSIX matter; run on Linux")
def test_a_new_file_is_for_its_user_alone(tmp_path):
    files.write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_the_hash_is_sha256_and_reports_its_progress(tmp_path):
    data = b"x" * (3 << 20)
    (tmp_path / "a").write_bytes(data)
    seen = []
    assert files.sha256_of(tmp_path / "a", progress=seen.append) == hashlib.sha256(data).hexdigest()
    assert seen == [1 << 20, 2 << 20, 3 << 20]


def test_too_little_space_is_an_error_that_names_the_missing_amount(tmp_path):
    with pytest.raises(RunError) as caught:
        files.require_free(tmp_path / "not" / "there", 1 << 60, "The run")
    assert caught.value.code == "RUNTIME_DISK_FULL"
    assert "GB" in caught.value.hint
