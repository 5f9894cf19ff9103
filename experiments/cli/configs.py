"""The flags of every command, a frozen dataclass each."""

import dataclasses
from typing import ClassVar

from .flags import LAUNCH, flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how a command runs; of these flags only `precision` changes what is computed.

    Attributes:
      divides: whether the command divides points or curves over the devices.
      topic: heading of the command's own flags in ``--help``.
      unused: inherited flags that this command ignores; ``--help`` omits them.
      local: flags of `flags.URLS` that must be on this machine in this command.
    """

    divides: ClassVar[bool] = False
    topic: ClassVar[str] = "this command"
    unused: ClassVar[tuple[str, ...]] = ()
    local: ClassVar[tuple[str, ...]] = ()
    workdir: str = flag(
        "",
        "Folder of the run, here or at s3:// or gs://. A new run is started in it, an interrupted "
        "one is resumed, a finished one is reused.",
        identity=False,
    )
    data_dir: str | None = flag(
        None,
        "Folder with data files that you already have, here or at s3:// or gs://; missing ones are "
        "downloaded. Paths of your own data are relative to it.",
        identity=False,
    )
    precision: str = flag(
        "float32",
        "Precision of the network: float32 throughout; tf32, faster matrix products of lower "
        "precision on GPU and TPU; bf16, activations in bfloat16, with parameters and losses in "
        "float32.",
        ("float32", "tf32", "bf16"),
    )
    compilation_cache: bool = flag(
        True, "Cache compiled programs in the user's cache folder for later runs.", identity=False
    )
    cpu_devices: int = flag(
        0,
        "Number of single-threaded devices to divide the CPU into. 0 chooses the faster layout: "
        "one device with all cores for training, one per core (up to 8) for surfaces and for "
        "several curves.",
        identity=False,
    )
    distributed: bool = flag(
        False,
        "Join the other processes of a cluster that JAX detects (Slurm, TPU, GKE, MPI).",
        identity=False,
    )
    coordinator: str | None = flag(
        None,
        "HOST:PORT of the first of several processes, for a cluster that JAX does not detect.",
        identity=False,
    )
    num_processes: int | None = flag(
        None, "Number of processes, with --coordinator.", identity=False
    )
    process_id: int | None = flag(
        None, "Index of this process, from 0, with --coordinator.", identity=False
    )
    checkpoint_seconds: float = flag(
        60.0,
        "Seconds between checkpoints to resume from, in addition to those of kept epochs.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launched(Machine):
    """Where the jobs of a command run."""

    launcher: str = flag(
        "local",
        "Where to run what is missing: local, on this machine; slurm, as jobs of Slurm, with a "
        "last one that collects their results; none, nowhere: only the results are collected.",
        ("local", "slurm", "none"),
        identity=False,
    )
    slurm_options: tuple[str, ...] = flag(
        (),
        "slurm: options of sbatch for every job, NAME=VALUE, such as partition=gpu,account=me,"
        "time=04:00:00,gpus=1,cpus-per-task=8,mem=32G.",
        identity=False,
    )
    status: bool = flag(
        False, "Print what became of each job, and run and submit nothing.", identity=False
    )


DEVICES = ("precision", "compilation_cache", "cpu_devices", *LAUNCH, "checkpoint_seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing(Machine):
    """How figures look."""

    style: tuple[str, ...] = flag(
        (),
        "Matplotlib styles to apply after mcjax's own: names or .mplstyle files. "
        "mcjax.one_column makes figures one column wide. A finished run is redrawn.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measuring(Drawing):
    """What to measure along a curve or on a surface."""

    splits: tuple[str, ...] = flag(
        ("train", "validation"),
        "Splits to evaluate on: train, and any of validation and test. For modes trained with "
        "--use_test, validation already means the test images.",
        evaluation=True,
    )
    metrics: str | None = flag(
        None,
        "Metrics to measure besides the modes' own, with commas between: error, ece (calibration "
        "error), top5_accuracy (any number), class_accuracy, perplexity, or your own: "
        "package.module:function of (logits, batch) returns a value per example, "
        "package.module:metric is an mcjax.engine.metrics.Metric, package.module:factory of a "
        "model returns an mcjax.engine.objectives.Objective.",
        evaluation=True,
    )
    save_logits: tuple[str, ...] = flag(
        (),
        "Splits on which to save the logits of all examples at every point, in WORKDIR/logits; "
        "their size is printed first.",
        evaluation=True,
    )
    also_evaluate: tuple[str, ...] = flag(
        (),
        "Further data to evaluate on, each [NAME=]DATA[+OPTION=VALUE]... with DATA one of train, "
        "validation and test, or another --dataset, of which split=SPLIT is used, by default its "
        "test images. label=3 or 0/1/8 keeps classes, indices=FILE positions; noise=0.1, blur=1, "
        "contrast=0.5 and random_labels=0.2 corrupt, with seed=N. Example: "
        "test+noise=0.1,low=test+label=0/1/2,npz:FILE.",
        evaluation=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Combining(Measuring):
    """Networks that are combined, and measured on common data."""

    allow_different: tuple[str, ...] = flag(
        (),
        "Flags of their data in which networks may differ: dataset, train_size, validation_size, "
        "use_test. The data, "
        "the normalization and batch norm's statistics are those of the first network.",
        identity=False,
    )


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceConfig(Combining):
    """The loss on the plane through three checkpoints, or around one, with their data and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "surface"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    points: tuple[str, ...] = flag(
        (),
        "Three checkpoints RUN[@EPOCH][~T] that span the plane, or its centre with --directions.",
    )
    align: str | None = flag(
        None,
        "Permute the units of the second point to match the first, by their weights or their "
        "activations; no permutation by default.",
        ("weights", "activations"),
    )
    directions: str | None = flag(
        None,
        "Directions of the plane around one checkpoint: random; filter, random with the norm of "
        "each filter of the weights; pca, principal components of --iterates (centred at the last "
        "by default); hessian, eigenvectors of the two largest eigenvalues.",
        ("random", "filter", "pca", "hessian"),
    )
    direction_seed: int = flag(0, "random, filter: seed of the directions.")
    ignore_vectors: bool = flag(
        True,
        "random, filter: keep biases and batch norm's scales and shifts fixed. Otherwise their "
        "directions are random too, where Li et al.'s code takes the weights themselves.",
    )
    extent: float | None = flag(
        None,
        "random, filter, hessian: how far the plane extends on each side of its centre, in units "
        "of a direction's norm (random, filter: the norm of the weights; hessian: 1); 1 by "
        "default.",
        evaluation=True,
    )
    curve: str = flag("", "Curve to draw on the plane, RUN[@EPOCH]; none by default.")
    iterates: tuple[str, ...] = flag(
        (),
        "Iterates to project onto the plane: RUN for all of its kept epochs, or RUN@30,RUN@70.",
    )
    grid: str = flag(
        "21",
        "Number of grid points per side, such as 21, or along x and y, such as 31x21.",
        evaluation=True,
    )
    margin: float = flag(
        0.2,
        "Margin around everything that is drawn, as a fraction of its larger extent.",
        evaluation=True,
    )
    refine: float | None = flag(
        None,
        "Evaluate only some of the grid's points, and interpolate the others so that losses miss "
        "by at most this share of the range that the figure shows, such as 0.02; all points by "
        "default.",
        evaluation=True,
    )
    examples: int | None = flag(
        None,
        "Measure the points on a random sample of this many examples of each split, with standard "
        "errors; on all examples by default.",
        evaluation=True,
    )
    stop_above: float | None = flag(
        None,
        "With --examples, a loss beyond which the sample is enough, such as that of --clip: points "
        "that are not above it by three standard errors are measured on all examples.",
        evaluation=True,
    )
    clip: float | None = flag(
        None,
        "Loss at the upper end of the colour scale; chosen from the losses by default.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterpolateConfig(Combining):
    """The segments between every two of several checkpoints, with their data and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "interpolation"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    points: tuple[str, ...] = flag(
        (),
        "Checkpoints RUN[@EPOCH][~T], two or more; the ends of a single --curve by default. "
        "RUN@all stands for all kept checkpoints of a run, RUN@10- for those from epoch 10 on, "
        "RUN@10-30 for those of epochs 10 to 30.",
    )
    against: tuple[str, ...] = flag(
        (),
        "Checkpoints of a second group, such as other seeds: means and 95 % intervals between the "
        "groups and within each are added.",
    )
    curve: tuple[str, ...] = flag(
        (), "Fitted curves to show beside their segments, RUN[@EPOCH]; none by default."
    )
    align: str | None = flag(
        None,
        "Also permute the units of each pair's second network to match its first, by their weights "
        "or their activations, and evaluate the segment between these.",
        ("weights", "activations"),
    )
    t_range: str = flag(
        "0,1",
        "The first and the last t, such as -0.5,1.5: the networks are at 0 and 1, beyond is "
        "extrapolation.",
        evaluation=True,
    )
    num_points: int = flag(
        25, "Number of points on each segment, equally spaced over --t_range.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayersConfig(Combining):
    """Layer-wise barriers between two checkpoints, with their data set and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "layers"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    start: str = flag(
        "",
        "The network where layers stay: RUN[@EPOCH], or RUN[@EPOCH]~T for a point on a curve. "
        "Required.",
    )
    end: str = flag("", "The network to which layers move, given as --start. Required.")
    align: str | None = flag(
        None,
        "First permute the units of --end to match --start, by their weights or their "
        "activations; no permutation by default.",
        ("weights", "activations"),
    )
    num_points: int = flag(
        11, "Number of points on each path, t equally spaced from 0 to 1.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstabilityConfig(ModeConfig, Measuring):
    """Networks that are trained from points of one training on, with other orders of the data."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "instability"
    unused: ClassVar[tuple[str, ...]] = ("fork", "fork_weights", "profile", "save_logits")
    forks: tuple[str, ...] = flag(
        (),
        "Points of the parent's training to fork from, two or more: epochs, with 0 for the "
        "untrained network, or steps such as s40. Required.",
    )
    children: int = flag(
        2, "Number of networks per fork, with the data seeds --seed + 1, --seed + 2 and so on."
    )
    num_points: int = flag(
        25, "Number of points on each segment, equally spaced, with its ends.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignConfig(Drawing):
    """A network with its units permuted to match another's, with their data set and model."""

    topic: ClassVar[str] = "alignment"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    start: str = flag(
        "", "The reference network: RUN[@EPOCH], or RUN[@EPOCH]~T for a point on a curve. Required."
    )
    end: str = flag("", "The network whose units to permute, given as --start. Required.")
    method: str = flag(
        "weights",
        "What to match: weights, or activations on the training split.",
        ("weights", "activations"),
    )
    restarts: int = flag(1, "Number of random orders in which to match; the best result is kept.")
    seed: int = flag(0, "Seed of these orders.")
    points: int = flag(25, "Number of points of each profile, t equally spaced from 0 to 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoupConfig(Measuring):
    """An average of several checkpoints, with their data set and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "soup"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds", "save_logits")
    points: tuple[str, ...] = flag(
        (),
        "Checkpoints RUN[@EPOCH][~T] to average, two or more. RUN@all stands for all kept "
        "checkpoints of a run, RUN@10- for those from epoch 10 on, RUN@10-30 for those of "
        "epochs 10 to 30. Required.",
    )
    recipe: str = flag(
        "uniform",
        "The average that the run keeps. uniform: of all points. greedy: from the point of best "
        "validation accuracy down, each that does not lower it. swa: of the points of one run from "
        "--swa_start on. ema: exponential moving average over the points of one run. All that "
        "apply are evaluated.",
        ("uniform", "greedy", "swa", "ema"),
    )
    swa_start: float | None = flag(
        None, "swa: first epoch of the average; 75 % of the last point's by default."
    )
    ema_decay: float = flag(
        0.8, "ema: the weight of a point in the average is this times that of the next one."
    )
    align: str | None = flag(
        None,
        "First permute the units of all points to match the first, by their weights or their "
        "activations; no permutation by default.",
        ("weights", "activations"),
    )
    curve: tuple[str, ...] = flag(
        (),
        "Fitted curves, RUN[@EPOCH], that end at two of the points: their barriers and the "
        "ensembles of their points are shown beside.",
    )
    num_points: int = flag(
        11, "Number of points on the segment between every two points, with its ends."
    )
    splits: tuple[str, ...] = flag(
        ("train", "validation", "test"),
        "Splits to evaluate on: train and validation, and test if wanted. The greedy soup is "
        "chosen on validation, and test is the split that no choice has seen.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharpnessConfig(Drawing):
    """The Hessian's largest eigenvalues along a curve, with its modes' data set and model."""

    topic: ClassVar[str] = "sharpness"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    curve: str = flag("", "The curve, RUN[@EPOCH]. Required.")
    points: int = flag(
        11, "Number of points to evaluate, t equally spaced from 0 to 1.", evaluation=True
    )
    eigenvalues: int = flag(
        2, "Number of eigenvalues per point, from the largest down.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceConfig(Drawing, Launched):
    """The whole paper."""

    unused: ClassVar[tuple[str, ...]] = LAUNCH
    local: ClassVar[tuple[str, ...]] = ("workdir", "data_dir")
    precision: str = flag(
        "scale",
        "Precision of the networks: scale, that of the scale's flagfiles (bf16 for "
        "fashion_mnist_vgg16 and cifar10, else float32); float32, tf32 and bf16 as in the other "
        "commands.",
        ("scale", "float32", "tf32", "bf16"),
    )
    paper: str = flag("gotmare2018", "The paper to reproduce.", ("gotmare2018",))
    scale: str = flag(
        "digits",
        "Size of the experiments: data set and networks.",
        ("digits", "fashion_mnist", "fashion_mnist_vgg16", "cifar10"),
    )
    figures: tuple[int, ...] = flag(
        (), "Figures of the paper to reproduce, 1 to 10; all by default.", identity=False
    )
    epochs_factor: float = flag(
        1.0, "Factor by which to multiply every number of epochs, in schedules and --keep too."
    )
    seeds: int = flag(1, "Number of repetitions with different seeds, for intervals.")
    jobs: int = flag(
        0,
        "local: number of processes to run at once; 0 for one per core, or a single one on GPU and "
        "TPU.",
        identity=False,
    )
    kept: str = flag(
        "",
        "Folder with the small files of finished runs: judge and draw from these and run nothing. "
        "With --workdir, the files of its finished runs are copied there first. Scale, epochs and "
        "seeds are those of the kept runs.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Machine):
    """Speed compared with PyTorch's."""

    unused: ClassVar[tuple[str, ...]] = ("data_dir", "precision", *LAUNCH, "checkpoint_seconds")
    local: ClassVar[tuple[str, ...]] = ("workdir",)
    nets: tuple[str, ...] = flag(("vgg16", "quarter", "digits"), "Networks to time.")
    rounds: int = flag(7, "Number of measurements; the table shows their medians.")
    seconds: float = flag(2.0, "Length of one measurement in seconds.")
    quick: bool = flag(False, "Set --nets=digits,quarter --rounds=3 --seconds=0.5: two minutes.")
    before: str = flag("", "An earlier benchmark.json, to warn of what is 20 % slower.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(Machine):
    """A finished run, or a checkpoint, in another format."""

    unused: ClassVar[tuple[str, ...]] = (
        "workdir", "cpu_devices", *LAUNCH, "checkpoint_seconds",
    )  # fmt: skip
    run: str = flag(
        "",
        "Folder of a finished curve or surface; pt, safetensors: a checkpoint RUN[@EPOCH][~T]. "
        "Required.",
    )
    format: str | None = flag(
        None,
        "Format to write: garipov, the curve.npz or plane.npz of Garipov's code; h5, the surface "
        "file of Goldstein's; vtp, a surface for ParaView; pt, safetensors, weights for PyTorch. "
        "Required.",
        ("garipov", "h5", "vtp", "pt", "safetensors"),
    )
    output: str = flag("", "File to write. Required.", identity=False)
    name_map: str | None = flag(
        None,
        "pt, safetensors: file that maps names, lines 'THEIRS = OURS'; Garipov's or torchvision's "
        "names by default.",
    )
    metric: str = flag("train_loss", "vtp: metric to plot as height.")
    log: bool = flag(False, "vtp: plot the metric's decimal logarithm.")
    clip: float | None = flag(
        None, "vtp: value at which to clip the metric; chosen from the losses by default."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewConfig(Machine):
    """A finished run as an interactive page."""

    unused: ClassVar[tuple[str, ...]] = ("workdir", "data_dir", *DEVICES)
    run: str = flag("", "Folder of a finished surface or curve. Required.")
    output: str = flag("", "HTML file to write; RUN/view.html by default.", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneConfig(Machine):
    """The checkpoints of finished runs."""

    unused: ClassVar[tuple[str, ...]] = ("workdir", "data_dir", *DEVICES)
    runs: tuple[str, ...] = flag((), "Folders of finished modes or curves. Required.")
    drop: tuple[int, ...] = flag(
        (), "Kept epochs whose checkpoints to delete too; the last epoch always stays."
    )
