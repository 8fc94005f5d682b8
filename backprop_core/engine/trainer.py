"""The trainer: TRL's SFTTrainer with our own batches, loss and clipping.

One item of the data loader is the rows of a whole optimizer step. The step is laid into
micro-batches here, so that its gradient is the same however memory forces it to be cut: each
micro-batch adds its summed loss divided by the supervised tokens of the whole step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from datasets import Dataset
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from backprop_core.engine import attention, heads
from backprop_core.engine.collating import Row, concatenated, padded
from backprop_core.engine.oom import Cutter
from backprop_core.engine.sampling import RowOrder

# Gradients of fp16 are computed this much larger, so that small ones do not vanish.
_FP16_SCALE: Final = 2.0**14


@dataclass(slots=True)
class StepFacts:
    """What one optimizer step was like; replaced by each step.

    Attributes:
        has_overflown: whether the scaled gradient left the range of fp16, which costs the step and
            lowers the scale, and says nothing about the run.
    """

    loss: float = math.nan
    grad_norm: float = math.nan
    learning_rate: float = 0.0
    tokens: int = 0
    supervised_tokens: int = 0
    has_overflown: bool = False

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient were numbers; if not, the weights were left as they were."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class StepBatches:
    """The rows of each step from `first_step` on, as a data loader."""

    def __init__(self, rows: Sequence[Row], order: RowOrder, first_step: int, steps: int) -> None:
        self._rows = rows
        self._order = order
        self._first_step = first_step
        self._steps = steps

    def __len__(self) -> int:
        return self._steps - self._first_step

    def heaviest(self) -> list[Row]:
        """Return the longest rows, as many as a step takes: no step of the run needs more memory."""
        return sorted(self._rows, key=lambda row: row.length, reverse=True)[: self._order.per_step]

    def __iter__(self) -> Iterator[list[Row]]:
        for step in range(self._first_step, self._steps):
            yield [self._rows[index] for index in self._order.of_step(step)]


class RunTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains the rows of a run.

    Args:
        model: the model with its adapter, on its device.
        arguments: see `training_arguments`.
        batches: the rows of each step.
        cutter: decides over micro-batches and over what happens when memory runs out.
        schedule: factor of the peak learning rate at a step, counting from 0.
        compute_dtype: of matrix products; fp32 switches autocast off.
    """

    def __init__(
        self,
        *,
        model: Any,
        arguments: SFTConfig,
        tokenizer: Any,
        batches: StepBatches,
        cutter: Cutter,
        schedule: Callable[[int], float],
        compute_dtype: torch.dtype,
        callbacks: list[TrainerCallback],
    ) -> None:
        # One card trains; with several the trainer would spread every batch over all of them.
        arguments._n_gpu = 1
        super().__init__(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            # The rows travel through `batches`; SFTTrainer only wants to see a data set.
            train_dataset=Dataset.from_dict({"input_ids": [[0]], "labels": [[0]]}),
            data_collator=list,
            callbacks=callbacks,
        )
        # The trainer's own printer writes to standard output.
        self.remove_callback(PrinterCallback)
        self.step_facts = StepFacts()
        self._schedule = schedule
        self._batches = batches
        self.cutter = cutter
        self._compute_dtype = compute_dtype
        self._causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._has_plain_head = heads.has_plain_head(self._causal)
        self.loss_scale = _FP16_SCALE if compute_dtype == torch.float16 else 1.0
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.keeps_documents_apart = attention.use_documents(self._causal)
        cutter.begin(self, keeps_documents_apart=self.keeps_documents_apart)

    def get_train_dataloader(self) -> StepBatches:
        """Return the rows of each step."""
        return self._batches

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Return the learning rate's course."""
        self.lr_scheduler = LambdaLR(self.optimizer, self._schedule)
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Row]], num_batches: int, device: torch.device
    ) -> tuple[list[list[Row]], None]:
        """Return the rows of one step; supervised tokens are counted in `training_step`."""
        return [next(epoch_iterator)], None

    def training_step(self, model: Any, inputs: Sequence[Row], num_items_in_batch: None = None) -> Tensor:
        """Add the gradient of one optimizer step and return its loss.

        Raises:
            RunError: memory ran out and nothing is left to try.
        """
        loss = self._gradient_of(inputs)
        self.step_facts = StepFacts(
            loss=float(loss),
            learning_rate=float(self.lr_scheduler.get_last_lr()[0]),
            tokens=sum(row.length for row in inputs),
            supervised_tokens=sum(row.supervised for row in inputs),
        )
        return loss

    def rehearse(self) -> None:
        """Work through the heaviest rows once and forget it: memory that is short shows itself now.

        Raises:
            RunError: memory ran out and nothing is left to try.
        """
        with torch.random.fork_rng():
            self._gradient_of(self._batches.heaviest())
        self.model.zero_grad(set_to_none=True)

    def _gradient_of(self, rows: Sequence[Row]) -> Tensor:
        """Add the gradient of the rows of one step and return its loss."""
        self.model.train()
        supervised = sum(row.supervised for row in rows)
        return self.cutter.run(rows, lambda part: self._add_gradient(part, supervised))

    def _add_gradient(self, rows: Sequence[Row], supervised: int) -> Tensor:
        """Add the part that `rows` have in the gradient of a step and return their part of its loss."""
        part = self.rows_loss(rows) / supervised
        (part * self.loss_scale).backward()
        return part.detach()

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes."""
        is_mixed = self._compute_dtype != torch.float32
        return torch.autocast(self.args.device.type, self._compute_dtype, enabled=is_mixed)

    @contextlib.contextmanager
    def plain_attention(self) -> Iterator[None]:
        """Give the model the attention that it had before, with caches and padding, for a while."""
        if not self.keeps_documents_apart:
            yield
            return
        self._causal.set_attn_implementation("sdpa")
        try:
            yield
        finally:
            self._causal.set_attn_implementation(attention.NAME)

    def recompute_activations(self) -> None:
        """Keep no activations from here on; they are computed again for the gradient."""
        self._causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def rows_loss(self, rows: Sequence[Row]) -> Tensor:
        """Return the summed loss of `rows` as a scalar in fp32."""
        with self.autocast():
            states, targets = self._at_targets(rows)
            if not self._has_plain_head:
                return torch.nn.functional.cross_entropy(states, targets, reduction="sum")
        return heads.summed_loss(states, self._causal.get_output_embeddings().weight, targets)

    def rows_right(self, rows: Sequence[Row]) -> list[bool]:
        """Return for each row whether every supervised token is the most likely one.

        Then greedy decoding writes exactly this answer: each token only depends on those before it.
        """
        with self.autocast():
            states, targets = self._at_targets(rows)
            logits = self._causal.get_output_embeddings()(states) if self._has_plain_head else states
        hits = (logits.argmax(1) == targets).split([row.supervised for row in rows])
        return [bool(hit.all()) for hit in hits]

    def _at_targets(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Return states of a plain head, or fp32 logits of another, where tokens carry loss, and the targets."""
        device = self.args.device
        if self.keeps_documents_apart:
            batch = concatenated(rows, device)
            documents: dict[str, Any] = {"document_lengths": batch.lengths}
        else:
            batch = padded(rows, self.processing_class.pad_token_id or 0, device)
            documents = {}
        inputs: dict[str, Any] = {
            "input_ids": batch.input_ids,
            "position_ids": batch.position_ids,
            "attention_mask": batch.attention_mask,
            "use_cache": False,
            **documents,
        }
        if not self._has_plain_head:
            logits = self._causal(**inputs).logits
            return logits.flatten(0, 1)[batch.sources].float(), batch.targets
        hidden = self._causal.get_decoder()(**inputs).last_hidden_state
        return hidden.flatten(0, 1)[batch.sources].to(self._compute_dtype), batch.targets

    def _clip_grad_norm(self, model: Any) -> Tensor:
        """Clip the gradient; drop it when it is not finite, so that the weights stay as they are."""
        if self.loss_scale != 1.0:
            for parameter in self._trained:
                if parameter.grad is not None:
                    parameter.grad.div_(self.loss_scale)
        norm = torch.nn.utils.clip_grad_norm_(self._trained, self.args.max_grad_norm)
        facts = self.step_facts
        facts.grad_norm = float(norm)
        facts.has_overflown = self.loss_scale > 1.0 and math.isfinite(facts.loss) and not facts.is_finite
        if facts.has_overflown:
            self.loss_scale /= 2.0
        if not facts.is_finite:
            for parameter in self._trained:
                parameter.grad = None
        return norm

    def floating_point_ops(self, inputs: Sequence[Row]) -> int:
        """Return 0: nobody reads this count."""
        return 0

    def _send_telemetry(self) -> None:
        """Send nothing: Backpropagate makes no network call that the user did not ask for."""


OPTIMIZERS: Final = {
    "adamw_torch": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}


def training_arguments(
    output_dir: str,
    *,
    run_name: str,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    max_grad_norm: float,
    optim: str,
    is_cpu: bool,
    seed: int,
) -> SFTConfig:
    """Return the trainer's own arguments; everything that writes, prints or reports is off."""
    return SFTConfig(
        output_dir=output_dir,
        run_name=run_name,
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        optim=OPTIMIZERS[optim],
        use_cpu=is_cpu,
        # Autocast is switched on around the forward pass by the trainer itself.
        bf16=False,
        # Recomputing is the cutter's: it may begin in the middle of a run.
        gradient_checkpointing=False,
        seed=seed,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        loss_type="nll",
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cache=False,
    )
