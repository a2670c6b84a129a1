"""Tables of the experiment on reordered tokens, as Markdown; see `figures.reordering`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown

from tokensphere.paper import printed
from tokensphere.records import Record
from tokensphere.reorder import comparison, contrasts, significance
from tokensphere.reorder.comparison import Difference
from tokensphere.reorder.recipe import Config

from . import tables
from .reordering import ARMS, MODELS, Runs

KEYS = {"peak learning rate": "rate", "betas": "betas", "weight decay": "decay", "batch": "batch"}
"""By row of the paper's Table 2, the key of a configuration; its other rows are in the code."""

MEASURES = {
    "similarity": "mean cosine",
    "clusters": f"clusters at {comparison.ANGLE}°",
    "effective_rank": "effective rank",
    "pooled_rank": "effective rank, all images",
}

FILES = {
    "MambaVision-T, 32 pixels": {arm: f"cifar10_mambavision_{arm}" for arm in ARMS},
    "MambaVision-T, 224 pixels": {"baseline": "imagenet_baseline", "random": "imagenet"},
}
"""Configurations by model and arm, as `reorder.scaling` names what a step costs."""

SAID = {1: "more diverse", -1: "less diverse", 0: "not shown"}


def markdown(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """The text of a table of these cells, to be joined with others."""
    return tables.table(head, rows).data + "\n\n"


def folded(title: str, text: str) -> str:
    """Markdown that a reader opens by its title; a print shows it open."""
    head = f'<details class="folded-proof">\n<summary>{title}</summary>'
    return f"{head}\n\n{text.strip()}\n\n</details>\n\n"


def interval(d: Difference | significance.Unpaired, form: str = "+.2f") -> str:
    """Mean and bounds of a difference, in a format."""
    return f"{d.mean:{form}} [{d.low:{form}}, {d.high:{form}}]"


def configuration_table(configs: Mapping[str, Mapping[str, Any]], others: Sequence[str]) -> str:
    """Configurations beside the paper's Table 2 and what was published with the model.

    configs: by title, of `reorder.recipe.Config` as dictionaries.
    others: keys of a configuration that Table 2 leaves open.

    Raises ValueError for a configuration that differs from Table 2.
    """
    columns = {"Table 2": printed.TABLE_2, "published recipe": printed.RECIPE}
    for title, config in configs.items():
        ours = {name: config[key] for name, key in KEYS.items()}
        for name, value in ours.items():
            if value != (wanted := printed.TABLE_2[name]):
                raise ValueError(f"configs: {name} of {title} is {value}, Table 2 has {wanted}")
        left = {f"`{key}`": config[key] or "none" for key in others}
        columns[title] = printed.TABLE_2 | ours | left
    return tables.columns(columns).data + "\n\n"


def runs_made(record: Record, model: str) -> str:
    """Seeds by arm, hours and provenance of one model's record of runs."""
    runs = record.data["runs"]
    made = Counter(run["arm"] for run in runs)
    seeds = ", ".join(f"{ARMS[arm]} {made[arm]}" for arm in ARMS if arm in made)
    hours = sum(run["seconds"] for run in runs) / 3600
    return (
        f"**{MODELS[model]}**, {runs[0]['parameters']:,} weights. Seeds: {seeds}. "
        f"Runs of {hours:.1f} hours. {record.provenance()}\n\n"
    )


def published_table() -> str:
    """Table 1, what is published for its model, and what its differences can show."""
    columns = {}
    for top, pair in printed.TABLE_1.items():
        gain = pair[1] - pair[0]
        error = significance.image_error(pair, printed.IMAGES)
        most = significance.largest_disagreement(pair, printed.IMAGES)
        columns[top] = {
            "Table 1, own order": f"{pair[0]:.2f}",
            "Table 1, random order": f"{pair[1]:.2f}",
            "MambaVision-T as published": printed.PUBLISHED[top],
            "$z$ on two samples of images": f"{gain / error:.1f}",
            "significant on the same images for $b+c$ below": f"{most:.1%}",
        }
        for s in printed.FLUCTUATION:
            runs = significance.runs_needed(gain, s)
            columns[top] |= {
                f"$z$ if it is of one run each, $s={s}$": f"{gain / (math.sqrt(2) * s):.1f}",
                f"runs of each kind for power 0.8, $s={s}$": runs,
            }
        least = significance.largest_spread(gain)
        columns[top]["significant for $s$ below"] = f"{least:.3f}"
    return tables.columns(columns).data + "\n\n"


def power_table(
    ours: Mapping[str, Difference],
    once: Sequence[float] = printed.FLUCTUATION,
    effect: float = printed.EFFECT,
) -> str:
    """What was detectable, by the arguments of `reordering.power_curves`."""
    rows = []
    for sd in once:
        found = comparison.detectable_once(sd), comparison.power_once(effect, sd)
        rows.append(["Table 1, if of one run each", f"{sd:g}, of a run", *found, ""])
    for name, d in ours.items():
        found = comparison.detectable(d.sd, d.n), comparison.power(effect, d.sd, d.n)
        pairs = comparison.seeds_needed(effect, d.sd)
        rows.append([f"{name}, {d.n} pairs", f"{d.sd:.2f}, of differences", *found, pairs])
    head = ["", "sd", "detectable with power 0.8", f"power at {effect:+.2f}"]
    head.append(f"pairs for power 0.8 at {effect:+.2f}")
    return markdown(head, [[a, b, f"{c:.2f}", f"{d:.2f}", e] for a, b, c, d, e in rows])


def accuracy_table(runs: Runs, arms: Mapping[str, contrasts.Accuracy]) -> str:
    """One model's accuracy by arm and what the arms' differences from the baseline are.

    runs: of the model, for the time of a step: the median over epochs and seeds.
    arms: of `contrasts.accuracies`.
    """
    head = ["order", "seeds", "ms a step", "top-1", "its sd", "top-5"]
    head += ["top-1, difference", "p (Holm)", "top-5, difference"]
    rows = []
    for arm, each in arms.items():
        top1, top5 = (list(top.values()) for top in (each.top1, each.top5))
        epochs = [line for run in runs if run["arm"] == arm for line in run["epochs"]]
        step = 1000 * np.median([line["seconds_a_step"] for line in epochs])
        spread = f"{np.std(top1, ddof=1):.2f}" if len(top1) > 1 else ""
        means = [f"{np.mean(top1):.2f}", spread, f"{np.mean(top5):.2f}"]
        changes = ["", "", ""]
        if each.difference and each.difference5:
            changes = [interval(each.difference), _chance(each.p), interval(each.difference5)]
        rows.append([ARMS[arm], len(top1), f"{step:.0f}", *means, *changes])
    return markdown(head, rows)


def accuracy_tables(
    found: Mapping[str, Runs], by: Mapping[str, Mapping[str, contrasts.Accuracy]]
) -> str:
    """`accuracy_table` of each model, under its name."""
    return "".join(
        f"**{MODELS[model]}**\n\n{accuracy_table(runs, by[model])}" for model, runs in found.items()
    )


def contrast_table(found: Mapping[str, Mapping[str, Difference]]) -> str:
    """`contrasts.contrasts` by model, with intervals."""
    columns = {
        MODELS[model]: {n: interval(d, "+.3f" if "loss" in n else "+.2f") for n, d in each.items()}
        for model, each in found.items()
    }
    return tables.columns(columns, "random order, difference from own order").data + "\n\n"


def control_table(found: Mapping[str, contrasts.Control]) -> str:
    """Random orders less one fixed order, paired and unpaired, by model."""
    head = ["random orders less one fixed order", "paired", "pairs", "unpaired", "runs"]
    rows = []
    for model, each in found.items():
        runs = " and ".join(map(str, each.unpaired.n))
        means = [interval(each.paired), each.paired.n, interval(each.unpaired), runs]
        spreads = [f"{each.paired.sd:.2f}", f"{each.unpaired.sd:.2f}", f"{each.chance:.3f}"]
        rows.append([MODELS[model], *means, *spreads])
    return markdown([*head, "sd of the pairs", "if independent", "chance of so small a one"], rows)


def followers_table(found: Mapping[str, Mapping[str, contrasts.Follower]]) -> str:
    """`contrasts.followers` by model."""
    head = ["model", "order in training", "mean cosine, difference", "clusters, difference"]
    head += ["top-1, difference", "response to the first", "to a later one"]
    rows = []
    for model, arms in found.items():
        for arm in (arm for arm in ARMS if arm in arms):
            each = arms[arm]
            formats = ((each.cosine, "+.3f"), (each.clusters, "+.2f"), (each.top1, "+.2f"))
            row = [interval(d, form) if d else "" for d, form in formats]
            response = [f"{value:z.3f}" for value in (each.first, each.later)]
            rows.append([MODELS[model], ARMS[arm], *row, *response])
    return markdown(head, rows)


def hours_table(rates: Mapping[int, float], images: int) -> str:
    """Hours for so many images on 1, 8 and 64 GPUs, at what 1 and 2 were measured to do.

    rates: images a second, by GPUs. Each of several GPUs has half the rate of two.
    """
    each = {1: rates[1], 8: rates[2] / 2, 64: rates[2] / 2}
    rows = [[n, f"{images / (n * rate) / 3600:.1f}"] for n, rate in each.items()]
    return markdown(["GPUs", "hours"], rows)


def scale(runs: Mapping[str, Runs], effect: float = printed.EFFECT) -> str:
    """What a difference like the paper's is for these runs, and what other images would do."""
    text = ""
    share = effect / (100 - printed.TABLE_1["top-1"][0])
    for model, found in runs.items():
        own = float(np.mean(list(comparison.outcomes(found, "top1")["baseline"].values())))
        images = found[0]["tested"]
        text += (
            f"**{MODELS[model]}**: of the errors {effect:.2f} points were {share:.1%} on "
            f"ImageNet-1K, which is {share * (100 - own):.2f} points here; "
            f"one image is {100 / images:.2f}; another {images:,} test images would move an "
            f"accuracy by {comparison.sampling_error(own / 100, images):.2f} (binomial sd).\n\n"
        )
    return text


def orders_table(found: Mapping[str, Runs]) -> str:
    """By model and arm: accuracy in the order of its tests, in random orders, and sensitivity."""
    head = ["model", "order in training", "top-1 in its tests", "in random orders", "lost"]
    rows = []
    for model, runs in found.items():
        for arm, name in ARMS.items():
            chosen = [run["orders"] for run in runs if run["arm"] == arm]
            if chosen:
                tops = [[np.mean(orders[key]) for key in ("own", "random")] for orders in chosen]
                own, other = 100 * np.mean(tops, axis=0)
                last = np.mean([orders["sensitivity"][-1] for orders in chosen])
                row = [f"{own:.2f}", f"{other:.2f}", f"{own - other:.2f}", f"{last:.3f}"]
                rows.append([MODELS[model], name, *row])
    return markdown([*head, "sensitivity, at the end"], rows)


def diversity_table(rows: Iterable[contrasts.Diversity]) -> str:
    """`contrasts.diversity_differences`."""
    head = ["after", "measure", "own order", "random order, difference", "p (Holm)"]
    cells = []
    for row in rows:
        change = [f"{row.own:.3g}", interval(row.difference, "+.3g"), _chance(row.p)]
        place = f"{MODELS[row.model]}, {_stage(row.depth)}"
        cells.append([place, MEASURES[row.measure], *change, SAID[row.shown]])
    return markdown([*head, "reordered tokens are"], cells)


def diversity_summary(rows: Sequence[contrasts.Diversity]) -> str:
    """The same by measure and stage, without p: what reordered tokens are, and the difference."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        column = cells.setdefault(f"{MODELS[row.model]}, {_stage(row.depth)}", {})
        column[MEASURES[row.measure]] = f"{SAID[row.shown]}: {interval(row.difference, '+.2g')}"
    return tables.columns(cells, "random order, difference from own order").data + "\n\n"


def tokens_table(found: Mapping[str, Runs]) -> str:
    """Every arm's tokens at the end of each stage: means over seeds, with their range."""
    head = ["after", "order in training", *MEASURES.values(), "closer to the first"]
    rows = []
    for model, runs in found.items():
        values = comparison.diversity(runs)
        names = runs[0]["mechanism"]["depths"]
        for end in dict.fromkeys(end for end, _ in values):
            for arm in (arm for arm in ARMS if arm in values[end, "similarity"]):
                lists = [list(values[end, name][arm].values()) for name in MEASURES]
                excess = [run["mechanism"]["excess"] for run in runs if run["arm"] == arm]
                lists.append([each[names.index(end)] for each in excess if each is not None])
                place = f"{MODELS[model]}, {_stage(end)}"
                rows.append([place, ARMS[arm], *map(_mean_and_range, lists)])
    return markdown(head, rows)


def _stage(depth: str) -> str:
    """Of the name of a depth: the stage that ends there, or the layer."""
    return depth.partition(",")[0]


def _mean_and_range(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, low, high = np.mean(values), min(values), max(values)
    return f"{mean:.3g} ({low:.3g} to {high:.3g})"


def short_runs(runs: Mapping[tuple[str, int], Mapping[str, Any]]) -> Markdown:
    """Runs by arm and seed that only show the machinery, a row each."""
    head = ["order in training", "seed", "top-1, own order", "top-1, random orders"]
    rows = []
    for (arm, seed), run in runs.items():
        tops = [f"{100 * np.mean(run['orders'][order]):.1f}" for order in ("own", "random")]
        cosine, rank = (run["mechanism"][name][-1] for name in ("similarity", "effective_rank"))
        rows.append([ARMS[arm], seed, *tops, f"{cosine:.2f}", f"{rank:.1f}"])
    return tables.table([*head, "mean cosine", "effective rank"], rows)


def overhead_table(steps: Mapping[str, Mapping[str, Any]]) -> str:
    """Milliseconds of a step in own order, and by how much other arms exceed them.

    steps: of the record of `reorder.scaling`. Shown is the median over rounds, in which the arms
    take turns, of the ratio within a round.
    """
    others = [arm for arm in ARMS if arm != "baseline"]
    rows = []
    for title, files in FILES.items():
        seconds = {
            arm: np.array(steps[file]["seconds_a_step"])
            for arm, file in files.items()
            if file in steps
        }
        own = seconds.pop("baseline")
        more = {arm: np.median(each / own) - 1 for arm, each in seconds.items()}
        cells = [f"{more[arm]:+.1%}" if arm in more else "" for arm in others]
        rows.append([title, f"{1000 * np.median(own):.1f}", *cells])
    return markdown(["", "own order (ms a step)", *(ARMS[arm] for arm in others)], rows)


def scaling_table(scaling: Iterable[Mapping[str, Any]]) -> str:
    """Images a second by GPUs and batch, and how many times those of one GPU at this batch.

    scaling: of the record of `reorder.scaling`.
    """
    scaling = list(scaling)
    one = {row["batch"]: row["images_a_second"] for row in scaling if row["gpus"] == 1}
    rows = []
    for row in scaling:
        rate, gpus, batch = row["images_a_second"], row["gpus"], row["batch"]
        rows.append([gpus, batch, f"{rate:,.0f}", f"{rate / one[batch]:.2f}"])
    return markdown(["GPUs", "images in a step", "images a second", "times one GPU"], rows)


def permuting_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Milliseconds of a permutation and its gradient, beside torch's and two copies.

    rows: of the record of `benchmarks.permute_gpu`.
    """
    names = {"ours (ms)": "ours (ms)", "index (ms)": "`x[:, order]`"}
    names |= {"index_select (ms)": "`index_select`", "gather (ms)": "`gather`"}
    names |= {"floor (ms)": "two copies"}
    cells = [
        [
            f"{row['B']}x{row['tokens']}x{row['D']}",
            *(f"{row[name]:.3f}" for name in names),
            f"{row['ours / floor']:.2f}",
        ]
        for row in rows
    ]
    return markdown(["images, tokens, width", *names.values(), "ours, over copies"], cells)


def imagenet(cost: Mapping[str, Any], config: Config) -> str:
    """What a run on ImageNet-1K takes, by the record of `reorder.scaling`."""
    rate = {r["gpus"]: r["images_a_second"] for r in cost["scaling"] if r["batch"] == config.batch}
    images = 1_281_167 * config.epochs  # its training set, so many times
    share, wanted = rate[2] / rate[1] / 2, 8 * rate[2] / 2
    cores, folder = cost["cores"], cost["loading"]["folder"]
    return (
        f"A run is {images / 1e6:.0f} million images ({config.epochs} epochs). At the "
        f"{rate[1]:,.0f} images a second of one GPU, and {share:.0%} of that on each of several, "
        f"as measured on two at this batch, it takes\n\n{hours_table(rate, images)}"
        "The hours are the least, without tests and where loading keeps up. Of "
        f"{config.batch} images 8 GPUs have {config.batch // 8} each and 64 have "
        f"{config.batch // 64}, too few: these rows are for larger batches.\n\nThe loaders gave "
        f"{folder:,.0f} photos a second on {cores} cores, decoded and augmented; a training from "
        f"a folder of photos on two GPUs saw {cost['loading']['training']:,.0f}. The "
        f"{wanted:,.0f} a second that 8 GPUs can do take {wanted / folder * cores:.0f} such cores."
    )


def curves_apart(curves: Mapping[str, Sequence[float]]) -> str:
    """How far the losses of the record of `reorder.scaling` are from those on one GPU."""
    apart = {name: np.abs(np.subtract(c, curves["1 GPU"])).mean() for name, c in curves.items()}
    return (
        "The losses of the same training on CIFAR-10 on one GPU and on two are "
        f"{apart['2 GPUs']:.4f} apart on average; of two runs on one GPU, "
        f"{apart['1 GPU again']:.4f}; with another seed, {apart['1 GPU, another seed']:.3f}."
    )


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"
