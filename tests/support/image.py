"""Replays the image without an engine: reads Dockerfile and compose.yaml, builds what they say, runs what they run.

What an engine would add is left out: namespaces, a file system of its own, the publishing of the port.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.ui_server import ROOT

UID = 10001
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions(name: str) -> list[str]:
    """Return what follows each instruction of that name, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return re.findall(rf"^{name} (.*)$", joined, flags=re.MULTILINE)


def command() -> list[str]:
    """Return what the container runs."""
    words: list[str] = []
    for name in ("ENTRYPOINT", "CMD"):
        words += json.loads(instructions(name)[-1])
    return words


def health_command() -> list[str]:
    """Return the health check."""
    found = re.search(r"HEALTHCHECK .*?CMD (\[.*\])", re.sub(r"\\\n\s*", " ", DOCKERFILE))
    assert found is not None
    return list(json.loads(found[1]))


def interpolate(text: str, shell: dict[str, str]) -> str:
    """Put variables of the shell into a value as Compose does, with the default behind `:-`."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: shell.get(match[1]) or match[2], text)


def environment(shell: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the container: of the image, then of the compose file."""
    shell = shell or {}
    found: dict[str, str] = {}
    for line in instructions("ENV"):
        found |= dict(re.findall(r"(\w+)=(\S+)", line))
    for name, value in COMPOSE["services"]["app"]["environment"].items():
        if value is not None:
            found[name] = interpolate(value, shell)
        elif name in shell:
            found[name] = shell[name]
    return found


@dataclass(frozen=True)
class Image:
    """A replayed image.

    Attributes:
        root: a folder that stands for the root of its file system.
    """

    root: Path

    @property
    def bin(self) -> Path:
        """Where its programs lie."""
        return self.root / "opt" / "backpropagate" / "bin"

    @property
    def volume(self) -> Path:
        """What stands for the volume."""
        return self.root / "volume"

    def place(self, text: str) -> str:
        """Return a value of the image with its paths under `root`."""
        places = {"/home/backprop/.backpropagate": "volume", "/home/backprop": "home", "/tmp": "tmp"}
        pattern = "|".join(map(re.escape, [*places, "/opt"]))
        return re.sub(pattern, lambda match: str(self.root / places.get(match[0], match[0][1:])), text)

    def environment(self, port: int, shell: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment of the replayed container; the port alone is another one."""
        found = {name: self.place(value) for name, value in environment(shell).items()}
        found["PATH"] = f"{self.bin}:/usr/bin:/bin"
        return found | {
            "BACKPROPAGATE_UI__PORT": str(port),
            "TMPDIR": str(self.root / "tmp"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, words: list[str], env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program of the image as its user."""
        path = shutil.which(words[0], path=env["PATH"])
        assert path is not None
        return subprocess.Popen([*as_user(), path, *words[1:]], env=env, cwd=self.root / "home", **options)


def as_user() -> list[str]:
    """Return what makes a command run as the user of the image; nothing when the tests are not root.

    The capability stands for an interpreter and models that the user could read in the image; it writes nothing.
    """
    if os.geteuid() != 0:
        return []
    keep = "-all,+dac_read_search"
    return [
        *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
        *(f"--inh-caps={keep}", f"--ambient-caps={keep}", f"--bounding-set={keep}", "--no-new-privs"),
    ]


def build(root: Path) -> Image:
    """Do what the Dockerfile does, except that the packages beside ours come from this environment."""
    image = Image(root)
    wheels = root / "wheel"
    for arguments in (
        [sys.executable, "-m", "backprop_app.build"],
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, "."],
        [sys.executable, "-m", "venv", root / "opt" / "backpropagate"],
    ):
        _run([str(word) for word in arguments])
    [wheel] = wheels.glob("backpropagate-*.whl")
    python = image.bin / "python"
    _run([str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = root / "opt" / "backpropagate" / "lib" / version / "site-packages"
    # Behind our own package, so that nothing of a checkout is found before the wheel.
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    _run([str(python), "-m", "compileall", "-q", str(packages / "backprop_app")])
    (root / "opt" / "backpropagate" / "backpropagate-image").write_text("cpu\n")
    for name in ("home", "volume", "tmp"):
        (root / name).mkdir()
    if os.geteuid() == 0:
        for name in ("volume", "tmp"):
            os.chown(root / name, UID, UID)
    for path in [root / "opt", root / "home", *(root / "opt").rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    return image


def _run(arguments: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
