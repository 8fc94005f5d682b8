"""One contender of `benchmarks.train`, alone in its process; prints one JSON line."""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STARTED = time.process_time()


class CpuClock:
    """Tells process CPU time as the monotonic clock."""

    def now(self) -> datetime:
        """Return the wall time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the CPU seconds of this process."""
        return time.process_time()


def ours(options: dict[str, Any]) -> dict[str, Any]:
    """Run the engine itself, from the run folder to the adapter."""
    from backprop_core.config.resolve import Layer, resolve_train
    from backprop_core.engine.context import open_run
    from backprop_core.engine.execution import execute
    from backprop_core.events.journal import JournalReader
    from backprop_core.events.types import Metrics
    from backprop_core.runs.store import RunInfo, create_run, new_run_id

    spec = {
        "model": options["model"],
        "dataset": options["rows"],
        "steps": options["steps"],
        "batch_size": 8,
        "gradient_accumulation": 1,
        "lora_r": options["rank"],
        "max_seq_length": options["cut"],
        "lr_scheduler": "constant",
        "warmup_ratio": 0.0,
        "optim": "adamw_torch",
        "device": "cpu",
        "checkpoint_every": 10**6,
    }
    info = RunInfo(
        run_id=new_run_id(),
        name="benchmark",
        source="python",
        created_at="",
        launch_id="",
        is_detached=False,
        version="",
    )
    place = Path(options["place"])
    folder = create_run(place, resolve_train([Layer("explicit", spec)]), info)
    with open_run(folder.path, place, clock=CpuClock()) as context:
        execute(context)
    events = [
        event for event in JournalReader(folder.journal_path).read_all() if isinstance(event.body, Metrics)
    ]
    steps = [event.body for event in events]
    return {
        "losses": [step.loss for step in steps],
        "tokens": steps[-1].tokens - steps[0].tokens,
        "supervised_tokens": steps[-1].supervised_tokens - steps[0].supervised_tokens,
        "seconds": sum(step.step_s for step in steps[1:]),
        "first_step_s": events[0].mono - steps[0].step_s - STARTED,
    }


def encoded(options: dict[str, Any]) -> list[list[Any]]:
    """Return the rows of each step as the engine draws them."""
    from backprop_core.datasets.convert import convert
    from backprop_core.datasets.mask import encode_many
    from backprop_core.datasets.readers import read_rows
    from backprop_core.datasets.tokenizer import ChatTokenizer
    from backprop_core.engine.sampling import RowOrder

    conversations = [convert(row.value, row.row) for row in read_rows(Path(options["rows"]))]
    tokenizer = ChatTokenizer.load(Path(options["model"]))
    rows = list(encode_many(conversations, tokenizer, options["cut"]))
    order = RowOrder(len(rows), 8, 42)
    return [[rows[index] for index in order.of_step(step)] for step in range(options["steps"])]


def adapted(options: dict[str, Any], dtype: str) -> Any:
    """Return the model with the adapter that the engine begins with."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    model = transformers.AutoModelForCausalLM.from_pretrained(options["model"], dtype=getattr(torch, dtype))
    transformers.set_seed(42)
    config = LoraConfig(
        r=options["rank"],
        lora_alpha=min(32, 2 * options["rank"]),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def sft(options: dict[str, Any], *, is_best: bool) -> dict[str, Any]:
    """Run TRL's SFTTrainer, with its own defaults or with the settings that are best on a processor."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    steps = encoded(options)
    rows = [row for step in steps for row in step]
    labels = [
        [token if has_loss else -100 for token, has_loss in zip(row.input_ids, row.labels_mask, strict=True)]
        for row in rows
    ]
    data = Dataset.from_dict({"input_ids": [row.input_ids for row in rows], "labels": labels})

    class Times(TrainerCallback):
        def __init__(self) -> None:
            self.began, self.seconds, self.losses, self.first = 0.0, [], [], 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.first = self.first or time.process_time() - STARTED
            self.began = time.process_time()

        def on_substep_end(self, *_: Any, **__: Any) -> None:
            self.on_step_end()
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.process_time() - self.began)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                self.losses.append(float(logs["loss"]))

    times = Times()
    own: dict[str, Any] = (
        {"packing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
        | {"gradient_checkpointing": False, "num_train_epochs": 1}
        if is_best
        else {"per_device_train_batch_size": 8, "max_steps": options["steps"]}
    )
    trainer = SFTTrainer(
        model=adapted(options, "bfloat16" if is_best else "float32"),
        args=SFTConfig(
            output_dir=options["place"],
            max_length=options["cut"],
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=42,
            train_sampling_strategy="sequential",
            **own,
        ),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(options["model"]),
        callbacks=[times],
    )
    torch.set_num_threads(1)
    trainer.train()
    # The first step, or with packing the first micro-batch, is a warm-up and not counted.
    first = trainer.train_dataset[0] if is_best else None
    counted = rows if is_best else [row for step in steps[1:] for row in step]
    return {
        "losses": times.losses,
        "tokens": sum(len(row.input_ids) for row in counted) - (len(first["input_ids"]) if first else 0),
        "supervised_tokens": sum(row.n_loss for row in counted)
        - (sum(label != -100 for label in first["labels"]) if first else 0),
        "seconds": sum(times.seconds[1:]),
        "first_step_s": times.first,
    }


def bare(options: dict[str, Any]) -> dict[str, Any]:
    """Run a hand-written loop: documents of a step packed into bins, attention by document."""
    import torch

    from backprop_core.engine import attention, heads
    from backprop_core.engine.collating import Row, concatenated
    from backprop_core.engine.cutting import packed

    steps = encoded(options)
    model = adapted(options, "bfloat16")
    causal = model.get_base_model()
    causal.set_attn_implementation(attention.NAME)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0, fused=True)
    model.train()
    losses, seconds, first = [], [], 0.0
    for step in steps:
        began = time.process_time()
        first = first or began - STARTED
        rows = [Row.from_mask(row.input_ids, row.labels_mask) for row in step]
        supervised = sum(row.supervised for row in rows)
        total = 0.0
        for part in packed(rows, 1024):
            batch = concatenated(part, torch.device("cpu"))
            with torch.autocast("cpu", torch.bfloat16):
                hidden = causal.get_decoder()(
                    input_ids=batch.input_ids,
                    position_ids=batch.position_ids,
                    use_cache=False,
                    document_lengths=batch.lengths,
                ).last_hidden_state[0]
            loss = heads.summed_loss(hidden[batch.sources], causal.lm_head.weight, batch.targets) / supervised
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        seconds.append(time.process_time() - began)
    counted = [row for step in steps[1:] for row in step]
    return {
        "losses": losses,
        "tokens": sum(len(row.input_ids) for row in counted),
        "supervised_tokens": sum(row.n_loss for row in counted),
        "seconds": sum(seconds[1:]),
        "first_step_s": first,
    }


def main() -> None:
    """Run the contender of the first argument."""
    import logging

    logging.disable(logging.WARNING)
    options = json.loads(sys.argv[1])
    contender = options["contender"]
    result = (
        sft(options, is_best=contender == "best")
        if contender in ("plain", "best")
        else {"ours": ours, "bare": bare}[contender](options)
    )
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**result, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main()
