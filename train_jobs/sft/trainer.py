"""trl's SFTTrainer on our rows: the loss at the places that count, validation by serving's own first look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from train_jobs.training.losses import TRAINED, place_losses


def make_trainer(
    *,
    labels: tuple[int, int],
    validate: Callable[[], Mapping[str, float]],
    **options: Any,
) -> Any:
    """An SFTTrainer whose batches come from `train_jobs.training.collator`.

    The model was given `train_jobs.training.losses.give_states_at`.

    Args:
        labels: the tokens of harmful and unharmful.
        validate: figures of the model as it is, asked for at every evaluation; the names get `eval_` before them.
        options: what SFTTrainer takes.
    """
    import torch
    from trl.trainer.sft_trainer import SFTTrainer

    class GuardTrainer(SFTTrainer):  # type: ignore[misc, unused-ignore]
        """SFTTrainer with our loss and our validation; order, optimiser, saving and resuming are its own."""

        loss_is_scaled_for_ga: Any = True  # by the weights of the whole update

        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
            self._head = base.get_output_embeddings
            tower = getattr(base.model, "visual", None)
            self._tower = [] if tower is None else list(tower.parameters())

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
            """The micro-batches of one update, and the sum of all their weights, by which each is divided.

            The sum is over all processes, which have equally many micro-batches.
            """
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            if not batches:
                return batches, None
            sums = [
                torch.stack([batch["trained_weights"].sum(), batch["attention_mask"].sum().float()])
                for batch in batches
            ]
            weights, tokens = self.accelerator.reduce(torch.stack(sums).sum(0).to(device), "sum")
            self._total_train_tokens += int(tokens)
            return batches, weights

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The weighted mean over the places that count in the whole update."""
            given = {name: value for name, value in inputs.items() if name not in TRAINED[1:]}
            states = model(**given)["states"]
            each = place_losses(states, self._head(), inputs["trained_tokens"], inputs["trained_p"], labels)
            weights = inputs["trained_weights"]
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
            total = weights.sum() if num_items_in_batch is None else num_items_in_batch
            # Gradients are averaged over the processes; what is wanted is their sum.
            loss = (each * weights).sum() / total.clamp(min=1e-6) * self.accelerator.num_processes
            return loss + self._nothing(given) if self.accelerator.num_processes > 1 else loss

        def _nothing(self, given: Mapping[str, Any]) -> Any:
            """Zero, with a gradient of zero for a trained vision tower that saw no picture: its peers' may have."""
            seen = "pixel_values" in given or "pixel_values_videos" in given
            return 0.0 if seen else sum(0.0 * each.sum() for each in self._tower if each.requires_grad)

        def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **given: Any) -> dict[str, float]:
            """Our validation in place of a loss."""
            self.model.eval()
            found = validate()
            figures = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
            # Of equal ones the later is the better: it has seen more.
            later = 1e-6 * self.state.global_step / max(1, self.state.max_steps)
            figures[f"{metric_key_prefix}_choice"] = found.get("validation_f1", 0.0) + later
            self.log(figures)
            callbacks: Any = self.callback_handler
            self.control: Any = callbacks.on_evaluate(self.args, self.state, self.control, figures)
            self.model.train()
            return figures

        def create_model_card(self, *args: Any, **given: Any) -> None:
            """The card is written when a checkpoint is exported; trl's is about trl."""

    return GuardTrainer(**options)
