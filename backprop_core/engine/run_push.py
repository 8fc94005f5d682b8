"""The recipe of a push job: gather the files, send them to the hub in one commit. Needs no torch."""

from __future__ import annotations

from backprop_core.auth import handover
from backprop_core.engine.context import RunContext
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.push_files import pushed_files
from backprop_core.errors import RunError
from backprop_core.hub.upload import Target, upload


def run_push(context: RunContext) -> Outcome:
    """Push as the spec of the job says.

    Raises:
        RunError: HUB_PUSH_FAILED with the cause; the repository is as it was, or new and empty.
        InputError: there is nothing to push, or a private push would become public.
        AttemptEnded: the user or the system ended the job.
    """
    token = handover.take(context.slot_path.parent, context.info.run_id) or _saved_login()
    spec = context.folder.push_spec()
    if token is None:
        raise RunError(
            "HUB_PUSH_FAILED",
            f"No token is set for the push to {spec.repo}.",
            hint="Sign in with `hf auth login`, set HF_TOKEN, or name a file with `--token-file`.",
        )
    found = pushed_files(spec, context.cache_dir)
    reporter = context.phase("pushing", spec.repo)
    target = Target(spec.repo, spec.is_private, spec.revision, spec.message)
    address = upload(target, found, token, check=context.control.check, on_bytes=reporter.progress)
    context.notice(f"Pushed {len(found)} files: {address}")
    return Outcome("completed", address)


def _saved_login() -> str | None:
    from huggingface_hub import get_token

    return get_token()
