"""`backprop info` and `backprop doctor`: what is here, what is wrong with it, what every code means."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.services.upkeep import Finding, RootReport

AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "info")(info)
    command(app, "doctor")(doctor)


def info(
    env_vars: Annotated[bool, typer.Option("--env-vars", help="List every environment variable.")] = False,
    error_codes: Annotated[bool, typer.Option("--error-codes", help="List every error code.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Show versions, device and extras; or every environment variable, or every error code."""
    from backpropagate.cli import references
    from backpropagate.cli.render import put_json, table

    if env_vars:
        variables = references.environment_variables()
        if as_json:
            put_json("variables", [dataclasses.asdict(variable) for variable in variables])
        else:
            table(("VARIABLE", "DEFAULT", "MEANING"), [(v.name, v.default, v.meaning) for v in variables])
    elif error_codes:
        codes = references.error_codes()
        if as_json:
            put_json("codes", [dataclasses.asdict(code) for code in codes])
        else:
            table(
                ("CODE", "EXIT", "CAUSE", "WHAT HELPS"),
                [(c.code, str(c.exit_code), c.cause, c.hint) for c in codes],
            )
    else:
        _show_machine(as_json=as_json)


def doctor(
    reindex: Annotated[
        bool, typer.Option("--reindex", help="Make the index of runs again from their folders.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Check and mend the store; put away what killed processes left unfinished."
        ),
    ] = False,
    as_json: AS_JSON = False,
) -> int:
    """Look for what keeps training from working, and say what helps.

    With --repair or --reindex: mend the store of runs instead, and say what was done.
    """
    if reindex or repair:
        _mend(reindex=reindex, repair=repair, as_json=as_json)
        return ExitCode.OK
    return _check(as_json=as_json)


def _check(*, as_json: bool) -> int:
    from backprop_core.config.settings import load_settings
    from backprop_core.services.health import check_machine
    from backpropagate.cli.render import put, put_json

    checks = check_machine(load_settings()[0].home)
    if as_json:
        put_json("checks", [dataclasses.asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            put(f"{check.status:<4}  {check.name:<{width}}  {check.fact}")
            if check.hint:
                put(f"{'':<{width + 8}}{check.hint}")
    return ExitCode.RUNTIME if any(check.status == "fail" for check in checks) else ExitCode.OK


def _mend(*, reindex: bool, repair: bool, as_json: bool) -> None:
    """Mend the store in the order in which it can be mended: the file, its rows, what lies on the disk."""
    from backprop_core.config.settings import load_settings
    from backprop_core.ports import SystemClock
    from backprop_core.services import upkeep
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json

    home = load_settings()[0].home
    findings = [upkeep.check_store(home, SystemClock())] if repair else []
    with workspace() as ws:
        findings += upkeep.repair(ws) if repair else []
        roots = upkeep.reindex(ws, [Path("output/runs").absolute()]) if reindex else []
    if as_json:
        mended = {
            "findings": [dataclasses.asdict(finding) for finding in findings],
            "roots": [dataclasses.asdict(root) for root in roots],
        }
        put_json("store", mended)
    else:
        _show_mended(findings, roots)


def _show_mended(findings: Sequence[Finding], roots: Sequence[RootReport]) -> None:
    from backprop_core import units
    from backpropagate.cli.render import put, talk

    for finding in findings:
        put(f"{finding.status:<6}  {finding.subject}: {finding.what}")
    for root in roots:
        if not root.is_there:
            put(f"absent  {root.root}")
            continue
        changed = f"{units.count(root.added)} added, {units.count(root.corrected)} corrected"
        put(f"read    {root.root}: {units.count(root.found)} runs, {changed}")
        for name in root.damaged:
            put(f"damaged {Path(root.root, name)}")
    if roots:
        total = sum(root.found - len(root.damaged) for root in roots)
        talk(f"{units.count(total)} runs in the folders")


def _show_machine(*, as_json: bool) -> None:
    from backprop_core import units
    from backprop_core.services import system
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import pairs, put, put_json, table

    with workspace() as ws:
        found = system.info(ws)
    if as_json:
        put_json("info", dataclasses.asdict(found))
        return
    pairs(
        {
            "Backpropagate": found.version,
            "Python": found.python,
            "System": found.system,
            "Processor": f"{found.cpu_cores} cores",
            "Memory": units.gib(found.ram_total_bytes) if found.ram_total_bytes else "unknown",
            "Card": found.gpu_name or "none",
            "Card memory": units.gib(found.gpu_memory_bytes) if found.gpu_memory_bytes else "–",
            "PyTorch build": found.torch_build or "–",
            "CUDA": found.cuda_version or "–",
            "Home": found.home,
            "Disk free": units.file_size(found.disk_free_bytes),
        }
    )
    if found.gpu_problem:
        put(f"note: {found.gpu_problem}")
    put()
    table(("LIBRARY", "VERSION"), [(name, version or "–") for name, version in found.libraries.items()])
    put()
    table(
        ("EXTRA", "STATE"),
        [
            (name, "installed" if here else f"pip install 'backpropagate[{name}]'")
            for name, here in found.extras.items()
        ],
    )
