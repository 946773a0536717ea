"""A training step of each network of the demo, by fastconv, PyTorch and TensorFlow.

    python bench/train.py --threads 1 2 --json train.json --picture train.png
    python bench/train.py --accuracy --networks keras torch

All start from the same weights and see the same batches of random digits, with Adam. First the
losses of some steps are compared (they must agree to float32's rounding, or nothing is timed), then
steps are timed: one process for each thread count, pinned; a burst of one library after the other
with the others idle; the minimum counts. With --accuracy fastconv and PyTorch are instead trained
to the end, on the real digits, and their accuracies on the held-out ones compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine

BATCHES = {"tf": 50, "torch": 100, "keras": 50, "dlfs": 100}
PEERS = ("torch", "torch-cl", "tensorflow")
CHILD = "--measure-a-job-from-stdin"
# Adam divides by the gradient's size, so rounding a tiny gradient may turn a whole step around.
TOLERANCE = 2e-3


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--networks", nargs="+", choices=sorted(BATCHES), default=list(BATCHES))
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    add("--check", type=int, default=5, help="steps whose losses are compared (default 5)")
    add("--rounds", type=int, default=6)
    add("--burst", type=int, default=4, help="steps of one library in a round (default 4)")
    add("--json", type=Path)
    add("--picture", type=Path)
    add("--accuracy", action="store_true", help="train to the end beside PyTorch instead")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    if options.accuracy:
        return accuracy(options)
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        job = vars(options) | {"threads": threads, "cpus": machine.pick_cpus(threads)}
        child = subprocess.run(
            [sys.executable, __file__, CHILD],
            input=json.dumps(job, default=str),
            env=machine.environment(threads, None),
            stdout=subprocess.PIPE,
            text=True,
        )
        if child.returncode:
            return child.returncode
        for line in child.stdout.splitlines():
            rows.append(json.loads(line))
            print(table(rows[-1:], head=len(rows) == 1), flush=True)
    print("\ngeometric mean of the fastest peer's time over fastconv's:", geometric_mean(rows))
    result = {"machine": machine.describe(), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.picture:
        draw(rows, options.picture)
    return 0 if all(row["agree"] for row in rows) else 1


def measure() -> None:
    """The child: reads a job, writes a line of JSON for each network."""
    job = json.load(sys.stdin)
    os.sched_setaffinity(0, job["cpus"])
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    import trainers

    for name in job["networks"]:
        row = measure_network(name, job, trainers)
        lines.write(json.dumps(row) + "\n")
        lines.flush()


def measure_network(name: str, job: dict[str, Any], trainers: Any) -> dict[str, Any]:
    import numpy as np

    from fastconv import demo

    recipe, batch = demo.NETWORKS[name], BATCHES[name]
    network, rng = recipe.build(np.random.default_rng(0)), np.random.default_rng(1)
    batches = [
        (rng.random((batch, 1, 28, 28), np.float32), rng.integers(0, 10, batch)) for _ in range(8)
    ]
    losses, timed, skipped = {}, {}, {}
    for peer in ("fastconv", *job["peers"]):
        make = trainers.TRAINERS[peer]
        try:
            checked = make(network, recipe.lr, job["threads"], same_masks=True)
            timed[peer] = make(network, recipe.lr, job["threads"], same_masks=False)
        except ImportError as error:
            skipped[peer] = str(error)
            continue
        losses[peer] = [checked.step(*batches[i % 8]) for i in range(job["check"])]
    ours = np.array(losses["fastconv"])
    off = {p: float(np.max(np.abs(np.array(x) - ours)) / ours[0]) for p, x in losses.items()}
    times = race(timed, batches, job) if max(off.values()) <= TOLERANCE else {}
    return {
        "network": name,
        "batch": batch,
        "threads": job["threads"],
        "losses": losses,
        "difference": off,
        "agree": bool(times),
        "times": times,
        "skipped": skipped,
    }


def race(timed: dict[str, Any], batches: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a step of each, minimum and median over all bursts."""
    import timing

    samples: dict[str, list[float]] = {name: [] for name in timed}
    for trainer in timed.values():
        trainer.step(*batches[0])  # the first one traces, allocates and chooses
    for _ in range(job["rounds"]):
        for name, trainer in timed.items():
            timing.settle()
            trainer.step(*batches[0])  # wakes the pool
            for i in range(job["burst"]):
                begin = time.perf_counter()
                trainer.step(*batches[i % 8])
                samples[name].append(time.perf_counter() - begin)
    return {n: {"min": min(s), "median": statistics.median(s)} for n, s in samples.items()}


def ratio(row: dict[str, Any]) -> float | None:
    """The fastest peer's time over fastconv's."""
    peers = [t["min"] for name, t in row["times"].items() if name != "fastconv"]
    return min(peers) / row["times"]["fastconv"]["min"] if peers else None


def geometric_mean(rows: list[dict[str, Any]]) -> str:
    found = [r for r in map(ratio, rows) if r is not None]
    return f"{statistics.geometric_mean(found):.2f}" if found else "no peer"


def table(rows: list[dict[str, Any]], head: bool = True) -> str:
    names = ("fastconv", *PEERS)
    lines = []
    if head:
        titles = ("network", "batch", "threads", *(f"{n} ms" for n in names), "ratio", "losses off")
        lines += ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [row["network"], str(row["batch"]), str(row["threads"])]
        for name in names:
            found = row["times"].get(name)
            cells.append(f"{1e3 * found['min']:.2f}" if found else "")
        r = ratio(row) if row["agree"] else None
        cells += [f"{r:.2f}" if r else "", f"{max(row['difference'].values()):.0e}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds of a step, a group of bars for each network and thread count."""
    import pictures

    names = [n for n in ("fastconv", *PEERS) if any(n in row["times"] for row in rows)]
    figure, axes = pictures.plt.subplots(figsize=(9, 4.2))
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        places = [i + (k - (len(names) - 1) / 2) * width for i in range(len(rows))]
        heights = [1e3 * row["times"].get(name, {"min": 0})["min"] for row in rows]
        bars = axes.bar(places, heights, width, label=name, color=pictures.COLORS[k])
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
    labels = [f"{r['network']}\n{r['threads']} thread{'s' * (r['threads'] > 1)}" for r in rows]
    axes.set_xticks(range(len(rows)), labels, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("ms a training step")
    axes.set_title("A training step, same weights and batches (fastest of interleaved bursts)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")


def accuracy(options: argparse.Namespace) -> int:
    """Train fastconv and PyTorch to the end from the same weights, batches and dropout masks."""
    import numpy as np

    import trainers
    from fastconv import demo

    digits, worst = demo.load_digits(), 0.0
    for name in options.networks:
        recipe, rng = demo.NETWORKS[name], np.random.default_rng(0)
        network = recipe.build(rng)
        pair = [
            trainers.TRAINERS[p](network, recipe.lr, options.threads[-1], same_masks=True)
            for p in ("fastconv", "torch")
        ]
        count = len(digits.train_labels)
        epochs = round(recipe.images / count)
        steps = epochs * -(-count // recipe.batch_size)
        done = 0
        for _ in range(epochs):
            order = rng.permutation(count)
            for start in range(0, count, recipe.batch_size):
                chosen = order[start : start + recipe.batch_size]
                rate = recipe.lr * (1 - done / steps)
                pair[0].optimiser.lr = rate
                pair[1].optimiser.param_groups[0]["lr"] = rate
                for trainer in pair:
                    trainer.step(digits.train_images[chosen], digits.train_labels[chosen])
                done += 1
        shares = [
            100 * float(np.mean(t.predict(digits.test_images) == digits.test_labels)) for t in pair
        ]
        worst = max(worst, abs(shares[0] - shares[1]))
        text = " ".join(f"{t.name} {share:.1f}%" for t, share in zip(pair, shares, strict=True))
        print(f"{name:8} {text}  ({steps} steps)", flush=True)
    print(f"largest difference: {worst:.1f} points")
    return 0 if worst <= 0.5 else 1


if __name__ == "__main__":
    if sys.argv[1:] == [CHILD]:
        measure()
    else:
        sys.exit(main())
