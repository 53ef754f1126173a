"""``segcrf demo``: one encoder trained three ways on a signal that switches between oscillations.

A recurrent network reads ``x``, predicts the clean signal a little ahead (``y``) and the current mode (``k``). With a
frame-wise loss its mode flickers; a penalty on switching is weak or kills all switches; a conditional random field
learns what a switch costs and gives solid bands. Signals, first weights, batches and steps are the same for all three.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from segcrf import baselines, metrics
from segcrf.cli.options import add_command
from segcrf.data import SwitchingSignal, check_folder, switching_sinusoid, write_atomically, write_table
from segcrf.data.readers import import_pandas
from segcrf.losses import FixedWeights, JointObjective, Losses
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, ModelOutput
from segcrf.plot import check_format, figure

if TYPE_CHECKING:
    import argparse
    import os
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.figure import Figure

__all__ = [
    "CLASSES",
    "PENALTIES",
    "QUICK",
    "Method",
    "Result",
    "Settings",
    "Signals",
    "Trained",
    "add_demo_command",
    "compare_methods",
    "draw_figure",
    "format_table",
    "frame_wise_losses",
    "make_signals",
    "penalised_losses",
    "progress_bar",
    "run_demo",
    "train_method",
    "write_tables",
]

Array = npt.NDArray[Any]

SAMPLING_RATE = 100.0
FREQUENCIES = (5.0, 10.0, 15.0)
CLASSES = tuple(f"{frequency:g} Hz" for frequency in FREQUENCIES)
PENALTIES = (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Settings:
    """The problem and the budget, the same for every method.

    Args:
        num_train: training signals, of ``train_length`` frames at 100 Hz.
        num_test: held-out signals, of ``test_length`` frames; as many again pick the penalty's weight.
        noise: standard deviation of the noise on x, which has amplitude 1.
        mean_dwell: mean time in a mode, in seconds.
        horizon: how far ahead y lies, in frames.
        hidden: units of the causal LSTM.
        steps: training steps of ``batch_size`` signals.
        learning_rate: of AdamW at its start; it falls to zero as a half cosine.
        seed: of signals, first weights and batches.
    """

    num_train: int = 512
    num_test: int = 64
    train_length: int = 200
    test_length: int = 500
    noise: float = 0.5
    mean_dwell: float = 1.0
    horizon: int = 5
    hidden: int = 48
    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 0.01
    seed: int = 0


QUICK = Settings(steps=100, num_test=32)


class Signals(NamedTuple):
    """Training, validation and test signals, each x (N, T, 1), y (N, T, 1) and k (N, T)."""

    train: SwitchingSignal
    validation: SwitchingSignal
    test: SwitchingSignal


@dataclass(frozen=True)
class Method:
    """A way to train and a way to decode.

    Args:
        name: name in the table.
        losses: from a model's output, k (B, T) and y (B, T, 1) to named losses per frame.
        decode: from a model's output to modes (B, T).
        weights: weight of a loss by name, where it is not 1.
    """

    name: str
    losses: Callable[[ModelOutput, Tensor, Tensor], Losses]
    decode: Callable[[ModelOutput], Tensor]
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """Predictions of a trained method on the test signals, and their scores.

    Args:
        name: of the method.
        modes: (N, T) predicted modes.
        predictions: (N, T, 1) predicted future values.
        scores: row of the table, by column.
    """

    name: str
    modes: Array
    predictions: Array
    scores: dict[str, float]


def frame_wise_losses(output: ModelOutput, k: Tensor, y: Tensor) -> Losses:
    """Return the squared error, and the binary cross-entropy of every mode against the rest.

    Cross-entropy is summed over the modes, so that it counts nats per frame, like the likelihood of the CRF.
    """
    scores = output.dist.emissions
    one_hot = functional.one_hot(k, scores.shape[2]).to(scores.dtype)
    entropy = functional.binary_cross_entropy_with_logits(scores, one_hot, reduction="none")
    return {"mse": functional.mse_loss(_values(output), y), "bce": entropy.sum(dim=2).mean()}


def penalised_losses(output: ModelOutput, k: Tensor, y: Tensor) -> Losses:
    """Return the frame-wise losses and the expected number of switches per frame."""
    switches = baselines.expected_switches(output.dist.emissions, output.dist.lengths)
    return {**frame_wise_losses(output, k, y), "switches": switches}


def decode_argmax(output: ModelOutput) -> Tensor:
    """Return the best mode of every frame by itself."""
    return output.dist.emissions.argmax(dim=2)


def decode_viterbi(output: ModelOutput) -> Tensor:
    """Return the best sequence of modes."""
    return output.dist.mode


def compare_methods(settings: Settings, progress: bool = True) -> tuple[SwitchingSignal, list[Result]]:
    """Train and test the three methods.

    Args:
        settings: the problem and the budget.
        progress: show a bar on stderr.

    Returns:
        The test signals, and a result per method: frame-wise, penalised, CRF.
    """
    signals = make_signals(settings)
    rivals = [
        Method(f"MSE + BCE + {w:g} × switches", penalised_losses, decode_argmax, (("switches", w),)) for w in PENALTIES
    ]
    with progress_bar(settings.steps * (2 + len(rivals)), show=progress) as bar:
        plain = train_method(Method("MSE + BCE", frame_wise_losses, decode_argmax), signals.train, settings, bar)
        penalties = [train_method(rival, signals.train, settings, bar) for rival in rivals]
        crf = train_method(Method("MSE + CRF", JointObjective("mse"), decode_viterbi), signals.train, settings, bar)
    best = max(penalties, key=lambda trained: trained.test(signals.validation).scores["f1@50"])
    return signals.test, [trained.test(signals.test) for trained in (plain, best, crf)]


def make_signals(settings: Settings) -> Signals:
    """Draw training, validation and test signals, each from a seed of its own.

    Example:
        >>> [len(part.k) for part in make_signals(Settings(num_train=4, num_test=2))]
        [4, 2, 2]
    """

    def draw(number: int, length: int, part: int) -> SwitchingSignal:
        return switching_sinusoid(
            number,
            length,
            frequencies=FREQUENCIES,
            sampling_rate=SAMPLING_RATE,
            mean_dwell=settings.mean_dwell,
            noise=settings.noise,
            horizon=settings.horizon,
            seed=3 * settings.seed + part,
        )

    train = draw(settings.num_train, settings.train_length, 0)
    return Signals(train, *(draw(settings.num_test, settings.test_length, part) for part in (1, 2)))


@dataclass(frozen=True, eq=False)
class Trained:
    """A method with the model that it trained."""

    method: Method
    model: JointModel

    @torch.no_grad()
    def test(self, signals: SwitchingSignal) -> Result:
        """Predict the modes and future values of signals, and score them."""
        output = self.model(torch.from_numpy(signals.x))  # pyright: ignore[reportUnknownMemberType]
        modes, values = self.method.decode(output).numpy(), _values(output).numpy()
        scores = {
            "mse": float(np.mean((values - signals.y) ** 2)),
            **metrics.evaluate(list(signals.k), list(modes)),
        }
        return Result(self.method.name, modes, values, scores)


def train_method(method: Method, signals: SwitchingSignal, settings: Settings, bar: Any) -> Trained:
    """Train a method in a plain loop, the same for every method.

    Args:
        method: its losses and its decoding rule.
        signals: training signals.
        settings: the budget.
        bar: a progress bar, advanced by one each step.
    """
    torch.manual_seed(settings.seed)  # pyright: ignore[reportUnknownMemberType]
    crf = LinearChainCRF(len(FREQUENCIES))
    model = JointModel(LSTMEncoder(1, hidden=settings.hidden), crf, num_targets=1)
    total = FixedWeights(**dict(method.weights))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    for x, y, k in _batches(signals, settings):
        losses = method.losses(model(x), k, y)
        optimizer.zero_grad()
        total(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        schedule.step()
        bar.set_description(f"{method.name:<28}", refresh=False)
        bar.set_postfix({name: f"{float(loss.detach()):.3f}" for name, loss in losses.items()}, refresh=False)
        bar.update()
    return Trained(method, model)


def _batches(signals: SwitchingSignal, settings: Settings) -> Iterator[list[Tensor]]:
    """Yield random batches x, y, k, in the same order for every method."""
    tensors = [torch.from_numpy(part) for part in signals]  # pyright: ignore[reportUnknownMemberType]
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.steps):
        chosen = torch.randint(len(signals.k), (settings.batch_size,), generator=generator)
        yield [part[chosen] for part in tensors]


def _values(output: ModelOutput) -> Tensor:
    assert output.predictions is not None
    return output.predictions


def progress_bar(total: int, *, show: bool = True) -> Any:
    """Return a progress bar on stderr that vanishes at the end.

    Args:
        total: number of steps.
        show: whether to show it.
    """
    from tqdm import tqdm

    return tqdm(total=total, file=sys.stderr, disable=not show, leave=False, mininterval=0.2, unit="step")


def format_table(results: Sequence[Result], signals: SwitchingSignal) -> str:
    """Return the scores of every method on the test signals, and how they were counted, as text.

    Args:
        results: one per method.
        signals: the test signals.
    """
    columns = {
        "test MSE": ("mse", "9.4f"),
        "accuracy %": ("accuracy", "11.1f"),
        "bands pred/true": ("band_ratio", "16.2f"),
        "edit %": ("edit", "7.1f"),
        "F1@50 %": ("f1@50", "8.1f"),
    }
    width = max(len(result.name) for result in results)
    lines = [" " * width + "".join(f"  {title:>{_width(form)}}" for title, (_, form) in columns.items())]
    for result in results:
        cells = (f"  {result.scores[key]:{form}}" for key, form in columns.values())
        lines.append(f"{result.name:<{width}}" + "".join(cells))
    number, length = signals.k.shape
    seconds = length / SAMPLING_RATE
    bands = _bands(signals.k).sum()
    weights = ", ".join(f"{weight:g}" for weight in PENALTIES)
    lines += [
        "",
        f"{number} held-out signals of {seconds:g} s with {bands} true bands. Edit: mean over signals; accuracy,",
        "bands, F1@50 (greedy): pooled; no class left out. The encoder is causal, so ŷ is a forecast; the CRF decodes",
        f"k with the whole signal at hand. Penalty: best validation F1@50 of the weights {weights}.",
    ]
    return "\n".join(lines)


def _width(form: str) -> int:
    return int(form.split(".", maxsplit=1)[0])


def draw_figure(signals: SwitchingSignal, results: Sequence[Result]) -> Figure:
    """Draw the figure: x, y and ŷ of the last method, and the bands of every method below.

    Args:
        signals: the test signals; a typical one is drawn.
        results: one per method, the frame-wise one first and the CRF last.
    """
    chosen = _typical(signals.k, results[0].modes)
    tracks = {"true k": signals.k[chosen]} | {result.name: result.modes[chosen] for result in results}
    counted = {f"{name}\n{_bands(modes[None]).item()} bands": modes for name, modes in tracks.items()}
    y, y_hat = signals.y[chosen], results[-1].predictions[chosen]
    return figure(signals.x[chosen], counted, y, y_hat, sampling_rate=SAMPLING_RATE, classes=CLASSES)


def _typical(true: Array, predicted: Array) -> int:
    """Return the signal with several bands that flickers most nearly as much as all signals together."""
    bands, found = _bands(true), _bands(predicted)
    distance = np.abs(found / bands - found.sum() / bands.sum())
    return int(np.argmin(np.where(bands >= min(4, bands.max()), distance, np.inf)))


def _bands(modes: Array) -> Array:
    """Return (N,) numbers of bands of (N, T) modes."""
    return 1 + np.count_nonzero(modes[:, 1:] != modes[:, :-1], axis=1)


def write_tables(folder: str | os.PathLike[str], seed: int = 0) -> list[Path]:
    """Write tables to try the commands on: signals as in the figure, with little noise, 100 frames per second.

    Args:
        folder: the folder to write to; it is made if it does not exist.
        seed: of the signals.

    Returns:
        The files: ``labelled.csv``, twelve recordings of 10 s with their classes; ``new.csv``, two others without
        classes; and ``truth.csv``, these two with their classes.

    Raises:
        FileExistsError: one of the files exists already, or the folder is a file.
        ImportError: pandas is not installed.
        OSError: the folder cannot be made.
    """
    if Path(folder).is_file():
        raise FileExistsError(f"{folder}: is a file, expected a folder to write tables to; give another name")
    files = [Path(folder) / name for name in ("labelled.csv", "new.csv", "truth.csv")]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file}: exists already; choose another folder, or remove it")
    pd = import_pandas()
    x, _, k = switching_sinusoid(14, 1000, frequencies=FREQUENCIES, sampling_rate=SAMPLING_RATE, noise=0.3, seed=seed)
    recordings = [
        pd.DataFrame(
            {
                "recording": f"take{number:02}",
                "time": np.arange(len(modes)) / SAMPLING_RATE,
                "x": np.round(signal[:, 0], 4),
                "label": np.array(CLASSES)[modes],
            }
        )
        for number, (signal, modes) in enumerate(zip(x, k, strict=True))
    ]
    known, new = pd.concat(recordings[:12]), pd.concat(recordings[12:])
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file, table in zip(files, (known, new.drop(columns="label"), new), strict=True):
        write_table(table, file)
    return files


def run_demo(*, quick: bool, seed: int, out: str | os.PathLike[str]) -> None:
    """Train and test the three methods, print the table and write the figure.

    Args:
        quick: train a quarter of the steps.
        seed: of signals, first weights and batches.
        out: the figure to write.

    Raises:
        ValueError, OSError: the figure cannot be written to that path, or not in that format.
    """
    check_format(out)
    check_folder(out)
    torch.set_num_threads(1)  # batches are small, and the table is then the same on one core as on many
    settings = dataclasses.replace(QUICK if quick else Settings(), seed=seed)
    signals, results = compare_methods(settings)
    print(format_table(results, signals))
    chart: Any = draw_figure(signals, results)
    with write_atomically(out) as temporary:
        chart.savefig(temporary)
    print(f"\nFigure: {Path(out)}")


def add_demo_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    text = "Train three ways on the founding problem, print a table, draw it."
    command = add_command(commands, "demo", _run, text)
    command.add_argument("--quick", action="store_true", help="a shorter training, to see that everything runs")
    command.add_argument("--seed", type=int, default=0, help="seed of signals and networks (default: 0)")
    command.add_argument(
        "--out",
        type=Path,
        default=Path("segcrf-demo.png"),
        metavar="FILE.png",
        help="the figure (default: segcrf-demo.png)",
    )
    command.add_argument(
        "--tables",
        type=Path,
        metavar="FOLDER",
        help="instead, write tables to try fit, predict and score on",
    )


def _run(arguments: argparse.Namespace) -> None:
    if arguments.tables is not None:
        files = write_tables(arguments.tables, arguments.seed)
        print(f"written: {', '.join(map(str, files))}")
        return
    run_demo(quick=arguments.quick, seed=arguments.seed, out=arguments.out)
