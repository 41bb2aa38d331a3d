"""The evaluating half of `VerifierTrainer`: held-out rows while it trains, and what they decide when it is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from prm.calibration import fold_temperature
from prm.encoding import EncodedDataset
from prm.errors import ConfigError
from prm.heads import READ, Head, margins
from prm.losses import PADDED
from prm.metrics import cross_fitted_intervals, metric_intervals, verifier_metrics
from prm.metrics.names import OF_ORDER
from prm.metrics.predictions import Predictions
from prm.stats.intervals import Estimate
from prm.training.best_of_n_gain import ACCURACY, GAIN, RecordedSamples
from prm.training.settling import Settled, after_training, before_training, cross_fitted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from prm.training.config import VerifierConfig
    from prm.training.data import TrainerData

logger = logging.getLogger(__name__)


class EvaluatingTrainer(Trainer):
    """A `transformers.Trainer` whose evaluation measures a verifier. `VerifierTrainer` sets the attributes.

    Attributes:
        settled: the temperature, threshold and fold that go out with the weights.
        samples: recorded samples to measure best-of-n on, if any.
    """

    head: Head
    data: TrainerData
    settled: Settled
    samples: RecordedSamples | None
    label_source: str
    _config: VerifierConfig
    _source_names: Sequence[str] = ()

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As transformers', and takes rows that are not encoded yet."""
        return super().get_eval_dataloader(self._sorted(self.data.evaluation(eval_dataset)))

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """As transformers', and takes rows that are not encoded yet; predictions keep the order of the rows."""
        return super().get_test_dataloader(self.data.evaluation(test_dataset, "test_dataset"))

    def _sorted(self, dataset: Any) -> Any:
        """Evaluation rows by length, where they are not in an order already."""
        if isinstance(dataset, dict):
            return {name: self._sorted(part) for name, part in dataset.items()}
        fresh = isinstance(dataset, EncodedDataset) and dataset.order is None
        return dataset.sorted_by_length() if fresh else dataset

    def _logits(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits (B, S, L) of the head at the score positions."""
        logits: torch.Tensor = model(**{name: inputs[name] for name in READ if name in inputs}).logits
        return logits.float()

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, Any]:
        """Margins (B, S), and the targets, hard labels and problems to hold them against. The loss is a metric: its
        mean is over units, and transformers would average batches."""
        import torch

        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            margins_BS = margins(self._logits(model, inputs))
        return None, margins_BS.contiguous(), tuple(inputs[name] for name in ("targets", "hard", "group", "source"))

    def _metrics(self, predicted: Any) -> dict[str, float]:
        threshold = before_training(self._config, self.label_source).threshold
        return verifier_metrics(
            *self._compared(predicted),
            kind=self._config.rows_kind,
            threshold=threshold,
            source_names=self._source_names,
        )

    def _compared(self, predicted: Any) -> tuple[Any, ...]:
        """Margins, targets, hard labels, problems and label sources of a prediction."""
        targets_NS, hard_NS, groups_N1, sources_N1 = predicted.label_ids
        return predicted.predictions, targets_NS, hard_NS, groups_N1[:, 0], sources_N1[:, 0]

    def evaluation_loop(self, dataloader: Any, *args: Any, **others: Any) -> Any:
        """As transformers'; notes whose label sources the rows have."""
        self._source_names = getattr(dataloader.dataset, "source_names", ())
        return super().evaluation_loop(dataloader, *args, **others)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As transformers', and with `args.eval_samples_path` the gain of best-of-n over majority voting."""
        found = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if self.samples is None or metric_key_prefix != "eval":
            return found
        accuracy, gain = self.best_of_n()
        more = {f"eval_{ACCURACY}": accuracy.mean, f"eval_{GAIN}": gain.mean}
        self.log(more)
        return found | more

    def best_of_n(self) -> tuple[Estimate, Estimate]:
        """Accuracy of best-of-n on the recorded samples, and its gain over majority@n.

        Raises:
            ConfigError: no samples were given.
        """
        if self.samples is None:
            raise ConfigError("give eval_samples_path to measure best-of-n")
        dataset = self.samples.dataset
        loop = self.evaluation_loop(self.get_test_dataloader(dataset), "best-of-n", metric_key_prefix="best_of_n")
        stored: Any = dataset.order.argsort()
        margins_RS, targets_RS = loop.predictions[stored], loop.label_ids[0][stored]
        if self.head.labels is None:  # no head of its own that the temperature was folded into
            margins_RS = margins_RS / self.settled.temperature
        return self.samples.gain(margins_RS, targets_RS > PADDED, self.settled.aggregation)

    def settle(self, held_out: Predictions | None = None) -> Settled:
        """Let the held-out rows decide temperature, threshold and fold (`prm.training.settling`), and put them into
        the model and its scoring spec. Call it once, on every process, when the training is over.

        Args:
            held_out: what `held_out()` returned; predicted here if not given.
        """
        held_out = self.held_out() if held_out is None else held_out
        if held_out is None:
            return self.settled
        self.settled = after_training(self._config, self.label_source, held_out)
        fitted = self.settled.calibration
        if fitted is not None and fitted.reason and fitted.value != 1.0 and self._config.process_index == 0:
            logger.warning("not calibrated, for the temperature that fits the held-out rows is %s", fitted.reason)
        if self.settled.temperature != 1.0 and self.head.labels is not None:
            fold_temperature(self.model, self.settled.temperature)
        return self.settled

    def held_out(self) -> Predictions | None:
        """Predictions for the evaluation set by the weights as they are; `None` without one, or with several."""
        if not isinstance(self.eval_dataset, EncodedDataset):
            return None
        found = self.predict(self.eval_dataset, metric_key_prefix="eval")  # type: ignore[arg-type]
        margins_NS, targets_NS, hard_NS, groups_N, sources_N = self._compared(found)
        return Predictions(margins_NS, targets_NS, hard_NS, groups_N, sources_N, self._source_names)

    def final_evaluation(self, held_out: Predictions | None = None) -> dict[str, dict[str, float]]:
        """Metrics on the evaluation set with 95% intervals over problems; empty without one. They are those of the
        weights as they are: ask before `settle` for what no held-out row has touched.

        Args:
            held_out: what `held_out()` returned; predicted here if not given.

        Each is `{"value": ..., "low": ..., "high": ..., "n": problems}`.
        """
        at = self.held_out() if held_out is None else held_out
        bars: dict[str, dict[str, float]] = {}
        if at is not None:
            bars = metric_intervals(
                *(at.margins_NS, at.targets_NS, at.hard_NS, at.groups_N, at.sources_N),
                kind=self._config.rows_kind,
                threshold=before_training(self._config, self.label_source).threshold,
                source_names=at.source_names,
            )
        return bars | self._best_of_n_bars()

    def settled_evaluation(
        self, held_out: Predictions | None, before: Mapping[str, dict[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Metrics of what was settled, as it is published, in the form of `final_evaluation`. What temperature and
        threshold decide is cross-fitted, for both were fitted on these rows; the order of the scores is as it was, and
        with it every AUROC.

        Args:
            held_out: what `settle` was given.
            before: what `final_evaluation` returned before it was settled.
        """
        bars = {name: bar for name, bar in before.items() if name.split("/")[-1] in OF_ORDER}
        if held_out is not None and (crossed := cross_fitted(self.settled, held_out)) is not None:
            bars = cross_fitted_intervals(*crossed, kind=self._config.rows_kind) | bars
        fold = self.settled.aggregation
        as_before = fold == before_training(self._config, self.label_source).aggregation
        if as_before and (self.settled.temperature == 1.0 or fold in ("min", "last")):  # these keep the order, too
            return bars | {name: bar for name, bar in before.items() if name in (ACCURACY, GAIN)}
        return bars | self._best_of_n_bars()

    def _best_of_n_bars(self) -> dict[str, dict[str, float]]:
        if self.samples is None:
            return {}
        bars = zip((ACCURACY, GAIN), self.best_of_n(), strict=True)
        return {name: {"value": bar.mean, "low": bar.low, "high": bar.high, "n": bar.n} for name, bar in bars}
