"""The container without an engine: its files are read strictly, its build and its very command are replayed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backprop_app import serve
from tests.support import image as replay
from tests.support.attempts import write_rows
from tests.support.image import COMPOSE, DOCKERFILE, Image
from tests.support.models import write_tiny_llama
from tests.support.stores import wait_for
from tests.support.ui_server import ROOT, free_port

SERVICES = COMPOSE["services"]


# What the files say


def test_the_dockerfile_has_no_complaint():
    lint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([lint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["app", "gpu"])
def test_a_service_is_published_to_this_machine_and_confined(name):
    service = SERVICES[name]
    assert [replay.interpolate(port, {}) for port in service["ports"]] == ["127.0.0.1:7860:7860"]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["networks"] == ["backpropagate"]
    assert service["volumes"] == ["backpropagate:/home/backprop/.backpropagate"]
    assert {"privileged", "network_mode", "user", "pid", "cap_add"} & set(service) == set()


def test_the_container_is_told_the_very_address_that_is_published():
    for shell in ({}, {"BACKPROPAGATE_PUBLISH": "0.0.0.0"}):
        [port] = [replay.interpolate(text, shell) for text in SERVICES["app"]["ports"]]
        told = replay.environment(shell)["BACKPROPAGATE_UI__PUBLISHED_ADDRESS"]
        assert port == f"{told}:7860:7860"


def test_the_container_gets_more_time_to_stop_than_the_runs_do():
    assert int(SERVICES["app"]["stop_grace_period"].removesuffix("s")) >= serve._WORKERS_END_S + 10


def test_a_card_is_asked_for_by_its_profile_alone():
    assert SERVICES["gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in SERVICES["app"]
    assert "deploy" not in SERVICES["app"]
    [device] = SERVICES["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_image_runs_as_somebody_without_rights_and_checks_the_server_itself():
    assert replay.instructions("USER") == ["10001:10001"]
    assert replay.instructions("STOPSIGNAL") == ["SIGTERM"]
    assert replay.command() == ["backprop", "ui", "--host", "0.0.0.0", "--no-open"]
    assert replay.health_command()[0] == "python"
    assert "/healthz" in replay.health_command()[2]
    assert "curl" not in DOCKERFILE


def test_both_flavours_are_baked_for_both_platforms():
    text = (ROOT / "docker-bake.hcl").read_text()
    assert 'platforms  = ["linux/amd64", "linux/arm64"]' in text
    for flavour in ("cpu", "cuda"):
        assert f'FLAVOR = "{flavour}"' in text
        assert f"      {flavour}) pip install" in DOCKERFILE


def test_the_list_of_arm64_wheels_is_that_of_the_pins():
    listed = (ROOT / "packaging" / "arm64-wheels.txt").read_text()
    assert "NONE" not in listed
    pins = re.findall(r"^([A-Za-z0-9_.-]+==\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    have = {_normal(pin) for pin in re.findall(r"^(?:any  |arm64)  (\S+)  ", listed, re.MULTILINE)}
    assert {_normal(pin) for pin in pins} - have == set()


def _normal(pin: str) -> str:
    name, _, version = pin.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


# What they do


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not below the tests' own folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="bp-image-"))
    folder.chmod(0o755)
    yield replay.build(folder)
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


class Container:
    """The command of the image, running as it would in a container."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.port = free_port()
        self.env = image.environment(self.port)
        self.log = image.root / "tmp" / "log.txt"
        with self.log.open("wb") as output:
            start = time.monotonic()
            self.process = image.start(replay.command(), self.env, stdout=output, stderr=output)
        while not self.is_healthy():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - start < 60, self.log.read_text()
            time.sleep(0.02)
        self.ready_s = time.monotonic() - start

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", trust_env=False).text == "ok"
        except httpx.HTTPError:
            return False

    def execute(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command beside it, as `docker compose exec app` does."""
        process = self.image.start(
            list(words), self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def stop(self) -> int:
        """Stop it as `docker compose stop` does."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def container(image) -> Iterator[Container]:
    running = Container(image)
    yield running
    if running.process.poll() is None:
        running.stop()


def test_the_command_of_the_image_leads_to_a_live_page(container, record_property):
    record_property("seconds", round(container.ready_s, 2))
    print(f"container command to live page: {container.ready_s:.2f} s")
    page = httpx.get(f"http://localhost:{container.port}/", trust_env=False)
    assert page.status_code == 200
    assert "Backpropagate" in page.text
    told = container.log.read_text()
    assert "published on the loopback of the machine" in told
    assert (container.image.volume / "store.db").is_file()
    if os.geteuid() == 0:
        assert (container.image.volume / "store.db").stat().st_uid == replay.UID


def test_nothing_is_written_outside_the_volume_and_the_memory(container):
    code = container.image.root / "opt"
    written = [
        path for path in [code, *code.rglob("*")] if path.stat().st_mtime > container.log.stat().st_ctime
    ]
    assert written == []
    done = container.execute("python", "-c", f"open({str(code / 'x')!r}, 'w')")
    assert b"Permission denied" in done.stderr


def test_the_health_check_asks_the_server(container):
    words = [word.replace("7860", str(container.port)) for word in replay.health_command()]
    assert container.execute(*words).returncode == 0
    words = [word.replace("7860", str(free_port())) for word in replay.health_command()]
    assert container.execute(*words).returncode != 0


def test_names_beyond_loopback_and_peers_beyond_the_machine_are_refused(container):
    url = f"http://127.0.0.1:{container.port}/healthz"
    assert httpx.get(url, headers={"host": "192.168.1.5:7860"}, trust_env=False).status_code == 421
    other = _own_address()
    answer = httpx.get(
        f"http://{other}:{container.port}/healthz", headers={"host": "localhost:7860"}, trust_env=False
    )
    assert answer.status_code == 403


def _own_address() -> str:
    """Return an address of this machine that is neither loopback nor a gateway."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent; the system only chooses the address it would send from.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("shell", "without", "told"),
    [
        ({"BACKPROPAGATE_PUBLISH": "0.0.0.0"}, "", "the port is published on 0.0.0.0"),
        ({"BACKPROPAGATE_PUBLISH": "192.168.1.5"}, "", "the port is published on 192.168.1.5"),
        ({}, "BACKPROPAGATE_UI__PUBLISHED_ADDRESS", "an address that is not named"),
        ({}, "BACKPROPAGATE_SECURITY__TRUST_PUBLISHED_LOOPBACK", "TRUST_PUBLISHED_LOOPBACK is not set"),
        ({"BACKPROPAGATE_UI__ALLOW_HOSTS": "box.lan"}, "", "goes beyond the machine itself"),
    ],
)
def test_a_container_that_is_published_wider_does_not_start_without_a_login(image, shell, without, told):
    port = free_port()
    env = image.environment(port, shell)
    env.pop(without, None)
    process = image.start(replay.command(), env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == b""
    assert "[INPUT_AUTH_REQUIRED]" in err.decode()
    assert told in err.decode()
    assert "BACKPROPAGATE_UI__AUTH: user:password" in err.decode()


def test_outside_the_image_the_trust_is_refused(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("BACKPROPAGATE_")}
    env |= {name: value for name, value in replay.environment().items() if name.startswith("BACKPROPAGATE_")}
    env |= {"BACKPROPAGATE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for more in ([], ["--host", "0.0.0.0"]):
        words = [sys.executable, "-m", "backpropagate", "ui", "--no-open", "--port", str(free_port()), *more]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "[INPUT_AUTH_REQUIRED]" in done.stderr
        assert "BACKPROPAGATE_UI__AUTH=user:password" in done.stderr
        assert done.stdout == ""


def steps(journal: Path) -> int:
    return journal.read_bytes().count(b'"type":"metrics"') if journal.exists() else 0


def test_a_stopped_container_leaves_runs_that_can_be_resumed(container, tmp_path):
    model = write_tiny_llama(tmp_path / "tiny")
    rows = write_rows(tmp_path / "facts.jsonl")
    volume = container.image.volume
    words = ["--model", str(model), "--data", str(rows), "--lora-r", "4", "--max-seq-length", "128"]
    words += ["--steps", "100000", "--output", str(volume / "output"), "--detach"]
    started = container.execute("backprop", "train", *words)
    assert started.returncode == 0, started.stderr.decode()
    run_id = started.stderr.decode().partition("run_id=")[2].split()[0]
    journal = volume / "output" / "runs" / run_id / "events.jsonl"
    wait_for(lambda: steps(journal) >= 2, "two steps", timeout_s=90)
    assert container.stop() == 0
    assert "Runs can be resumed." in container.log.read_text()
    assert b'"type":"run.interrupted"' in journal.read_bytes().splitlines()[-1]
    before = steps(journal)
    [*_, newest] = sorted((journal.parent / "checkpoints").glob("step-*"))
    assert (newest / "MANIFEST.json").is_file()
    again = Container(container.image)
    try:
        resumed = again.execute("backprop", "resume", journal.parent.name, "--detach")
        assert resumed.returncode == 0, resumed.stderr.decode()
        wait_for(lambda: steps(journal) > before, "a further step", timeout_s=90)
    finally:
        assert again.stop() == 0
    [entry] = json.loads(again.execute("backprop", "list-runs", "--json").stdout)["runs"]
    assert (entry["status"], entry["step"] > 2) == ("interrupted", True)
