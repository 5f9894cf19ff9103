"""The flags of every command, a frozen dataclass each."""

import dataclasses
from typing import ClassVar

from .flags import LAUNCH, flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how a command runs; nothing here changes what is computed but `precision`.

    Attributes:
      divides: whether the command gives devices points or curves of their own.
      topic: what the command's own flags are about, for ``--help``.
      unused: inherited flags that do nothing in this command: ``--help`` leaves them out.
    """

    divides: ClassVar[bool] = False
    topic: ClassVar[str] = "this command"
    unused: ClassVar[tuple[str, ...]] = ()
    workdir: str = flag("", "Run folder: made, gone on with, or reused.", identity=False)
    data_dir: str | None = flag(None, "Folder with data files you have.", identity=False)
    precision: str = flag(
        "float32",
        "Of networks: full float32; tf32, its products coarser on GPU and TPU; bf16, all of it in "
        "bfloat16 between float32 parameters and float32 losses.",
        ("float32", "tf32", "bf16"),
    )
    compilation_cache: bool = flag(
        True, "Keep compiled programs in the user's cache folder for later runs.", identity=False
    )
    cpu_devices: int = flag(
        0,
        "On CPU: so many devices of one thread each. 0 for what is faster: one with all cores for "
        "training, one a core (up to 8) where points of a surface or curves are divided over them.",
        identity=False,
    )
    distributed: bool = flag(
        False,
        "Start as one of several processes of a cluster that JAX detects (Slurm, TPU, GKE, MPI).",
        identity=False,
    )
    coordinator: str | None = flag(
        None, "Of several processes: the first one's HOST:PORT, where none is detected.",
        identity=False,
    )  # fmt: skip
    num_processes: int | None = flag(None, "Of several processes: how many.", identity=False)
    process_id: int | None = flag(None, "Of several processes: which, from 0.", identity=False)
    checkpoint_seconds: float = flag(
        60.0, "Save at least this often, beside the kept epochs.", identity=False
    )


DEVICES = ("precision", "compilation_cache", "cpu_devices", *LAUNCH, "checkpoint_seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing(Machine):
    """How figures look."""

    style: tuple[str, ...] = flag(
        (),
        "Matplotlib styles on top of mcjax's, names or .mplstyle files: mcjax.one_column for "
        "figures one column wide; a run that is done is drawn again.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measuring(Drawing):
    """What is measured along a curve or on a surface."""

    splits: tuple[str, ...] = flag(
        ("train", "validation"),
        "What is measured on: train, and any of validation and test. With the modes' --use_test "
        "the validation split is the test images already.",
        evaluation=True,
    )
    metrics: str | None = flag(
        None,
        "package.module:factory, called with the model, of an "
        "mcjax.engine.objectives.Objective whose metrics are measured beside the modes' own.",
        evaluation=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Machine):
    """What the training of a mode and of a curve have in common."""

    batch_size: int = flag(100, "Examples a step, over all devices.")
    epochs: int = flag(200, "Passes over the training split.")
    optimizer: str = flag("sgd", "Optimizer.", ("sgd", "adam", "adamw"))
    lr: float = flag(0.05, "Learning rate at the start, or at the top of the schedule.")
    momentum: float = flag(0.9, "Momentum of sgd.")
    weight_decay: float = flag(
        5e-4, "L2 penalty 0.5*wd*||w||^2 over all parameters (adamw: decoupled)."
    )
    schedule: str = flag(
        "step",
        "Learning-rate schedule: constant, step decay, linear to zero, SGDR, or the curve schedule "
        "(constant, then linear to 1 % between half and 90 % of the epochs).",
        ("constant", "step", "linear", "sgdr", "curve"),
    )
    milestones: tuple[int, ...] = flag((60, 120, 160), "step: epochs at which lr falls.")
    decay_factor: float = flag(0.2, "step: what lr is multiplied by at a milestone.")
    sgdr_t0: int = flag(10, "sgdr: epochs of the first period, T_0.")
    sgdr_mult: int = flag(2, "sgdr: growth of the period at a restart, T_mult.")
    lr_min: float = flag(1e-6, "sgdr: lower bound of the learning rate, eta_min.")
    schedule_per_epoch: bool = flag(
        False,
        "Hold the learning rate over each epoch: its first step's, or for the curve schedule the "
        "next epoch's, as Garipov et al. count epochs from 1.",
    )
    crop_padding: int = flag(0, "Random crop after padding by this many pixels; 0 for none.")
    flip: bool = flag(False, "Random horizontal flip.")
    seed: int = flag(0, "Seed of initialisation, data order, augmentation, dropout and t.")
    keep: tuple[int, ...] = flag((), "Epochs whose checkpoints are kept, beside the last.")
    eval_every: int = flag(1, "Validate every so many epochs; 0 for not before the end.")
    keep_going: bool = flag(
        False,
        "Go on after a loss or gradient that is not finite; without it the run stops and has "
        "failed.",
        identity=False,
    )
    fork: str | None = flag(
        None,
        "A run of the same kind to go on from, under the flags given here, in a new --workdir.",
        identity=False,
    )
    tracker: tuple[str, ...] = flag(
        (),
        "Metrics also to these, tensorboard (in WORKDIR/tensorboard; pip install tensorboardX) or "
        "wandb (pip install wandb).",
        identity=False,
    )
    profile: bool = flag(
        False,
        "Record some steps as a trace for Perfetto and TensorBoard, in WORKDIR/profile.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Machine):
    """A network and the data set that it is for."""

    dataset: str = flag("digits", "digits, fashion_mnist, mnist, cifar10, cifar100 or tfds:NAME.")
    use_test: bool = flag(
        False, "Train on all training images and validate on the test images, as the paper does."
    )
    train_size: int | None = flag(None, "Only the first so many training images.")
    validation_size: int | None = flag(None, "Only the first so many validation images.")
    downsample: int = flag(1, "Average k x k pixels into one.")
    pad_to: int | None = flag(None, "Pad images with zeros to this height and width.")
    normalization: str | None = flag(
        None,
        "Mean and deviation of pixels (0 to 1) to normalize by: imagenet, cifar, or M,M,M/S,S,S; "
        "the training split's own by default.",
    )
    model: str = flag("vgg16", "A model's name, or package.module:factory for your own.")
    width: float = flag(1.0, "Multiplies the number of channels of every hidden layer.")
    dropout: float | None = flag(None, "Dropout rate; the model's own by default.")
    init_scale: float = flag(1.0, "Multiplies the std sqrt(2/n) of the initialisation.")
    objective: str | None = flag(
        None, "package.module:factory, called with the model; cross-entropy by default."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModeConfig(Network, Training):
    """A mode: a network trained on a data set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig(Network):
    """A network that was trained elsewhere."""

    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    file: str = flag("", "The checkpoint: a PyTorch state dict (.pt, .pth) or .safetensors.")
    weights: str | None = flag(
        None,
        "Which weights of a file that holds several, such as swa_state_dict or model_ema: a key, "
        "or what the names of one network begin with; by default the plain ones.",
    )
    name_map: str | None = flag(
        None,
        "File of lines 'THEIRS = OURS', a layer or an array each; by default the names of "
        "torchvision's ResNet and VGG, and of Garipov's VGG, PreResNet and WideResNet.",
    )
    epoch: int = flag(1, "The epoch it is of, where known: the run is then RUN@EPOCH.")
    normalization: str | None = flag(
        None,
        "Mean and deviation by which its images were normalized: imagenet (torchvision, Garipov's "
        "VGG), cifar (his ResNets), M,M,M/S,S,S, or own for those of the training split. Needed.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportParamsConfig(ImportConfig):
    """A network that was trained in JAX."""

    file: str = flag("", "The checkpoint: Flax msgpack, .npz, or a folder of orbax's.")
    weights: str | None = flag(
        None, "Which parameters of a file that holds several, such as ema_params: their path."
    )
    name_map: str | None = flag(
        None,
        "File of lines 'THEIRS = OURS', a layer or an array each, for what has another name in the "
        "file; by default the names of --model.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting(Training, Measuring):
    """What the fitting of one curve and of several have in common."""

    topic: ClassVar[str] = "curve"
    modes_dir: str | None = flag(
        None,
        "Where modes given as flagfiles are trained; WORKDIR/modes by default.",
        identity=False,
    )
    curve: str = flag("chain", "Family of the curve.", ("chain", "bezier"))
    bends: int = flag(1, "Control points between the two ends.")
    free_ends: bool = flag(False, "Train the two ends as well.")
    t_strata: int = flag(1, "Parts of the batch, each with its own t from its part of [0, 1].")
    points: int = flag(61, "Evaluated points, t equally spaced from 0 to 1.", evaluation=True)
    eval_epochs: tuple[int, ...] = flag(
        (), "Curve epochs to evaluate, beside the last.", evaluation=True
    )
    ensemble_with: tuple[str, ...] = flag(
        (),
        "Independent modes, RUN[@EPOCH], whose ensemble with the two ends the ensembles of the "
        "curve's points are compared with.",
        identity=False,
    )
    align: str | None = flag(
        None,
        "Permute the units of the end so that it matches the start, by their weights or their "
        "activations; the curve's own copy of its end is the permuted one.",
        ("weights", "activations"),
    )
    allow_failed: bool = flag(False, "Connect modes that did not train.", identity=False)
    lr: float = flag(0.015, "Learning rate at the start.")
    schedule: str = dataclasses.field(
        default="curve", metadata=Training.__dataclass_fields__["schedule"].metadata
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveConfig(Fitting):
    """A curve between two modes; data set and model are the modes'."""

    start: str = flag("", "phi(0): RUN[@EPOCH], RUN[@EPOCH]~T, or a mode's flagfile.")
    end: str = flag("", "phi(1): likewise.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvesConfig(Fitting):
    """Several curves between modes of one problem."""

    divides: ClassVar[bool] = True
    modes: tuple[str, ...] = flag(
        (), "Connect every two of these: checkpoints or flagfiles, as fit_curve's --start."
    )
    pairs: tuple[str, ...] = flag((), "Connect these: START:END,START:END.")
    seeds: int = flag(1, "Curves for each pair, with seeds --seed, --seed + 1 and so on.")
    shard: str = flag(
        "", "I/N: only every Nth curve from the Ith on, for job I of N.", identity=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceConfig(Measuring):
    """The loss on the plane through three checkpoints, or around one; data and model are theirs."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "surface"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    points: tuple[str, ...] = flag(
        (), "Three checkpoints RUN[@EPOCH][~T] that span the plane; with --directions its centre."
    )
    align: str | None = flag(
        None,
        "Permute the units of the second point so that it matches the first, by their weights "
        "or their activations.",
        ("weights", "activations"),
    )
    directions: str | None = flag(
        None,
        "Directions of the plane around one checkpoint: random; filter, random with each filter as "
        "long as the weights'; pca, of --iterates (the centre is the last by default); hessian, "
        "eigenvectors of the two largest eigenvalues.",
        ("random", "filter", "pca", "hessian"),
    )
    direction_seed: int = flag(0, "Seed of --directions=random and filter.")
    ignore_vectors: bool = flag(
        True,
        "random, filter: leave biases and batch norm's scales and shifts as they are. Otherwise "
        "they have random directions too, where Li et al.'s code takes the weights themselves.",
    )
    extent: float | None = flag(
        None,
        "random, filter, hessian: how far the plane reaches on each side of its centre, in lengths "
        "of the directions (random, filter: the weights'; hessian: 1); 1 by default.",
        evaluation=True,
    )
    curve: str = flag("", "A curve to draw, RUN[@EPOCH]; none by default.")
    iterates: tuple[str, ...] = flag(
        (), "Iterates to project: RUN for all its kept epochs, or RUN@30,RUN@70."
    )
    grid: str = flag("21", "Points a side, 21, or along x and along y, 31x21.", evaluation=True)
    margin: float = flag(
        0.2, "Room around all that is drawn, as a share of its larger extent.", evaluation=True
    )
    clip: float | None = flag(
        None, "Upper loss of the colour scale; chosen from the losses by default.", identity=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignConfig(Drawing):
    """A network with its units in the order of another's; data set and model are theirs."""

    topic: ClassVar[str] = "alignment"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    start: str = flag("", "The network that stays: RUN[@EPOCH], or RUN[@EPOCH]~T of a curve.")
    end: str = flag("", "The network whose units are permuted: likewise.")
    method: str = flag(
        "weights",
        "What is matched: weights, or activations of the training split.",
        ("weights", "activations"),
    )
    points: int = flag(25, "Evaluated points of each profile, t equally spaced from 0 to 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharpnessConfig(Drawing):
    """The Hessian's largest eigenvalues along a curve; data set and model are its modes'."""

    topic: ClassVar[str] = "sharpness"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    curve: str = flag("", "The curve, RUN[@EPOCH].")
    points: int = flag(11, "Points, t equally spaced from 0 to 1.", evaluation=True)
    eigenvalues: int = flag(2, "How many eigenvalues, from the largest down.", evaluation=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceConfig(Drawing):
    """The whole paper."""

    unused: ClassVar[tuple[str, ...]] = LAUNCH
    paper: str = flag("gotmare2018", "The paper to reproduce.", ("gotmare2018",))
    scale: str = flag(
        "digits",
        "Size of the experiment.",
        ("digits", "fashion_mnist", "fashion_mnist_vgg16", "cifar10"),
    )
    figures: tuple[int, ...] = flag(
        (), "Only these figures of the paper, 1 to 10; all by default.", identity=False
    )
    epochs_factor: float = flag(1.0, "Multiplies every epoch count, schedule and kept epoch.")
    seeds: int = flag(1, "Repetitions with other seeds, for intervals.")
    jobs: int = flag(
        0, "Processes side by side; 0 for one a core, or one on a GPU or TPU.", identity=False
    )
    kept: str = flag(
        "",
        "Judge and draw from the small files of finished runs in this folder, and run nothing; "
        "with --workdir those of its finished runs are copied there first. Scale, epochs and "
        "seeds are the kept ones'.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Machine):
    """Speed beside PyTorch's."""

    unused: ClassVar[tuple[str, ...]] = ("data_dir", "precision", *LAUNCH, "checkpoint_seconds")
    nets: tuple[str, ...] = flag(("vgg16", "quarter", "digits"), "Networks to time.")
    rounds: int = flag(7, "Rounds of measurements; the table gives medians.")
    seconds: float = flag(2.0, "Length of one measurement.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(Machine):
    """A finished run, or a checkpoint, in another format."""

    unused: ClassVar[tuple[str, ...]] = (
        "workdir", "cpu_devices", *LAUNCH, "checkpoint_seconds",
    )  # fmt: skip
    run: str = flag(
        "", "The folder of a finished curve or surface; pt, safetensors: RUN[@EPOCH][~T]."
    )
    format: str | None = flag(
        None,
        "garipov: curve.npz or plane.npz; h5: Goldstein's surface file; vtp: a surface for "
        "ParaView; pt, safetensors: weights for PyTorch.",
        ("garipov", "h5", "vtp", "pt", "safetensors"),
    )
    output: str = flag("", "The file to write.", identity=False)
    name_map: str | None = flag(
        None,
        "pt, safetensors: file of lines 'THEIRS = OURS'; Garipov's or torchvision's names by "
        "default.",
    )
    metric: str = flag("train_loss", "vtp: the metric that is the height.")
    log: bool = flag(False, "vtp: its decimal logarithm is the height.")
    clip: float | None = flag(
        None, "vtp: greatest metric drawn; chosen from the losses by default."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewConfig(Machine):
    """A finished run as an interactive page."""

    unused: ClassVar[tuple[str, ...]] = ("workdir", "data_dir", *DEVICES)
    run: str = flag("", "The folder of a finished surface or curve.")
    output: str = flag("", "The HTML file to write; RUN/view.html by default.", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneConfig(Machine):
    """The checkpoints of finished runs."""

    unused: ClassVar[tuple[str, ...]] = ("workdir", "data_dir", *DEVICES)
    runs: tuple[str, ...] = flag((), "Folders of finished modes or curves.")
    drop: tuple[int, ...] = flag((), "Kept epochs whose checkpoints go as well; never the last.")
