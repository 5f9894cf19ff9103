"""The flags of the commands that train or import modes and curves."""

import dataclasses
from typing import ClassVar

from ..flags import flag
from .shared import Combining, Launched, Machine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Machine):
    """Flags of every training, of modes and of curves."""

    batch_size: int = flag(100, "Examples per step, over all devices.")
    epochs: int = flag(200, "Number of passes over the training split.")
    optimizer: str = flag("sgd", "Optimizer.", ("sgd", "adam", "adamw"))
    lr: float = flag(0.05, "Initial learning rate, the highest of the schedule.")
    momentum: float = flag(0.9, "sgd: momentum.")
    weight_decay: float = flag(
        5e-4, "Factor wd of the L2 penalty 0.5*wd*||w||^2 on all parameters; adamw: decoupled."
    )
    schedule: str = flag(
        "step",
        "Learning-rate schedule: constant; step, decay at --milestones; linear, to zero; sgdr, "
        "cosine with warm restarts; curve, constant for half of the epochs, then linear to 1 % at "
        "90 % of them.",
        ("constant", "step", "linear", "sgdr", "curve"),
    )
    milestones: tuple[int, ...] = flag((60, 120, 160), "step: epochs at which lr decays.")
    decay_factor: float = flag(0.2, "step: factor by which lr is multiplied at a milestone.")
    sgdr_t0: int = flag(10, "sgdr: length of the first period in epochs, T_0.")
    sgdr_mult: int = flag(2, "sgdr: factor by which the period grows at a restart, T_mult.")
    lr_min: float = flag(1e-6, "sgdr: lower bound of the learning rate, eta_min.")
    schedule_per_epoch: bool = flag(
        False,
        "Hold the learning rate constant within each epoch, at the value of its first step; curve: "
        "at that of the next epoch, because Garipov et al. count epochs from 1.",
    )
    crop_padding: int = flag(0, "Pad images by this many pixels and crop at random; 0 for no crop.")
    flip: bool = flag(False, "Flip images horizontally at random.")
    seed: int = flag(
        0,
        "Seed of initialisation, data order, augmentation, dropout and t. With --fork, the "
        "parameters are those of the fork, and another seed means other data order, augmentation "
        "and dropout.",
    )
    keep: tuple[int, ...] = flag(
        (),
        "Epochs whose checkpoints to keep, in addition to the last; modes: 0 for the untrained "
        "network.",
    )
    keep_steps: tuple[int, ...] = flag(
        (), "Steps whose checkpoints to keep, too; their references are RUN@sSTEP."
    )
    eval_every: int = flag(
        1, "Epochs between validations, in addition to one at the end; 0 for that one alone."
    )
    keep_going: bool = flag(
        False,
        "Continue after a loss or gradient that is not finite; by default the run stops and is "
        "marked failed.",
        identity=False,
    )
    fork: str | None = flag(
        None,
        "A run of the same kind to continue from its last checkpoint, or from RUN@EPOCH or "
        "RUN@sSTEP, with the flags given here, in a new --workdir. Optimizer state, epochs and "
        "schedule continue from there; from an imported or aligned mode they start at 0.",
        identity=False,
    )
    tracker: tuple[str, ...] = flag(
        (),
        "Also log metrics to tensorboard (in WORKDIR/tensorboard; pip install tensorboardX) or "
        "wandb (pip install wandb).",
        identity=False,
    )
    profile: bool = flag(
        False,
        "Record a trace of some steps for Perfetto and TensorBoard, in WORKDIR/profile.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Machine):
    """A network and its data set."""

    dataset: str = flag(
        "digits",
        "Data set: digits, fashion_mnist, mnist, cifar10, cifar100, tfds:NAME, or your own: "
        "npz:FILE with the arrays images and labels, folder:DIR with the images CLASS/*.png.",
    )
    use_test: bool = flag(
        False, "Train on all training images and validate on the test images, as the paper does."
    )
    train_size: int | None = flag(
        None, "Number of training images to use, the first ones; all by default."
    )
    validation_size: int | None = flag(
        None, "Number of validation images to use, the first ones; all by default."
    )
    downsample: int = flag(1, "Average blocks of k x k pixels into one pixel, k given here.")
    pad_to: int | None = flag(
        None, "Height and width in pixels to pad images to with zeros; no padding by default."
    )
    normalization: str | None = flag(
        None,
        "Mean and standard deviation per channel (pixels from 0 to 1) to normalize images with: "
        "imagenet, cifar, or M,M,M/S,S,S; those of the training split by default.",
    )
    model: str = flag("vgg16", "Name of the model, or package.module:factory for your own.")
    width: float = flag(1.0, "Factor by which to multiply the width of every hidden layer.")
    dropout: float | None = flag(None, "Dropout rate; the model's own by default.")
    init_scale: float = flag(
        1.0, "Factor by which to multiply the initialisation's standard deviation sqrt(2/n)."
    )
    objective: str | None = flag(
        None,
        "Objective to train and evaluate: package.module:factory, called with the model; "
        "cross-entropy by default.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModeConfig(Network, Training):
    """A mode: a network trained on a data set."""

    fork_weights: bool = flag(
        False,
        "Take only the network from --fork, which may be a point of a curve, too: epochs, schedule "
        "and optimizer start at 0, on any data set, batch size or optimizer.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig(Network):
    """A network that was trained elsewhere, in PyTorch."""

    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    file: str = flag(
        "", "The checkpoint to import: a PyTorch state dict (.pt, .pth) or .safetensors. Required."
    )
    weights: str | None = flag(
        None,
        "Which weights to import from a file that holds several, such as swa_state_dict or "
        "model_ema: a key, or the prefix of one network's names; by default the plain ones.",
    )
    name_map: str | None = flag(
        None,
        "File that maps names, a line 'THEIRS = OURS' per layer or array; by default the names of "
        "torchvision's ResNet and VGG, and of Garipov's VGG, PreResNet and WideResNet.",
    )
    epoch: int = flag(1, "Epoch of the checkpoint, if known; its reference is then RUN@EPOCH.")
    normalization: str | None = flag(
        None,
        "Mean and standard deviation that its images were normalized with: imagenet (torchvision, "
        "Garipov's VGG), cifar (his ResNets), M,M,M/S,S,S, or own for those of the training split. "
        "Required.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportParamsConfig(ImportConfig):
    """A network that was trained in JAX."""

    file: str = flag(
        "", "The checkpoint to import: Flax msgpack, .npz, or an orbax folder. Required."
    )
    weights: str | None = flag(
        None,
        "Path of the parameters to import from a file that holds several, such as ema_params.",
    )
    name_map: str | None = flag(
        None,
        "File that maps names, a line 'THEIRS = OURS' per layer or array whose name in the file "
        "differs; by default the names of --model.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting(Training, Combining):
    """Flags of fitting, of one curve and of several."""

    topic: ClassVar[str] = "curve"
    modes_dir: str | None = flag(
        None,
        "Folder in which to train modes given as flagfiles; WORKDIR/modes by default.",
        identity=False,
    )
    curve: str = flag(
        "chain", "Family of the curve: a polygonal chain or a Bezier curve.", ("chain", "bezier")
    )
    bends: int = flag(1, "Number of control points between the two ends.")
    free_ends: bool = flag(False, "Train the two ends as well.")
    t_strata: int = flag(
        1,
        "Number of equal parts of the batch and of [0, 1]: each part of the batch draws its own t "
        "from its part of [0, 1].",
    )
    points: int = flag(
        61, "Number of points to evaluate, t equally spaced from 0 to 1.", evaluation=True
    )
    eval_epochs: tuple[int, ...] = flag(
        (), "Epochs of the curve to evaluate, in addition to the last.", evaluation=True
    )
    ensemble_with: tuple[str, ...] = flag(
        (),
        "Independent modes, RUN[@EPOCH]: compares ensembles of the curve's points with the "
        "ensemble of the two ends and these.",
        identity=False,
    )
    align: str | None = flag(
        None,
        "Permute the units of the end to match the start, by their weights or their activations; "
        "the curve stores the permuted end. No permutation by default.",
        ("weights", "activations"),
    )
    allow_failed: bool = flag(False, "Also connect modes that failed to train.", identity=False)
    lr: float = flag(0.015, "Initial learning rate, the highest of the schedule.")
    schedule: str = dataclasses.field(
        default="curve", metadata=Training.__dataclass_fields__["schedule"].metadata
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveConfig(Fitting):
    """A curve between two modes, with their data set and model."""

    start: str = flag(
        "",
        "Start of the curve, phi(0): RUN[@EPOCH], RUN[@EPOCH]~T for a point on a curve, or a "
        "mode's flagfile, which is trained first. Required.",
    )
    end: str = flag("", "End of the curve, phi(1), given as --start. Required.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvesConfig(Fitting, Launched):
    """Several curves between modes of one problem."""

    divides: ClassVar[bool] = True
    modes: tuple[str, ...] = flag(
        (), "Modes to connect, every two of them: checkpoints or flagfiles, as fit_curve's --start."
    )
    pairs: tuple[str, ...] = flag((), "Pairs to connect: START:END,START:END.")
    seeds: int = flag(1, "Number of curves per pair, with seeds --seed, --seed + 1 and so on.")
    shard: str = flag(
        "",
        "I/N for job I of N: fit every Nth curve, starting with the Ith; all by default.",
        identity=False,
    )
    jobs: int = flag(
        0, "slurm: number of jobs to divide the curves into; 0 for one per curve.", identity=False
    )
