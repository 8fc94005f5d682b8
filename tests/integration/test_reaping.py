import os
import time

import pytest

from backprop_core.jobs.launcher import ProcessLauncher


@pytest.mark.skipif(os.name == "nt", reason="zombies are a POSIX matter; run on Linux")
def test_an_ended_scheduler_does_not_stay_a_zombie(tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    launcher = ProcessLauncher({**os.environ, "BACKPROPAGATE_HOME": str(tmp_path)})
    launcher.spawn_scheduler(tmp_path)
    [pid] = launcher._started
    deadline = time.monotonic() + 20
    while launcher._started and time.monotonic() < deadline:
        time.sleep(0.05)
        launcher.reap()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
