"""
How fast it is
==============

The structured layer and its peers, each on the same scores, in one process pinned to one core. Every result has been
compared with a float64 reference before its time was taken; runs were interleaved, and the times are medians. This
page shows the results of these commands:

.. code-block:: text

   python -m benchmarks.speed
   python -m benchmarks.speed --structure semimarkov
   python -m benchmarks.speed --grid

The kernels for GPUs are tested for their results; their speed is *not measured*.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

folder = next(up for up in Path.cwd().resolve().parents if (up / "benchmarks").is_dir()) / "benchmarks" / "results"


def read(name):
    """Return the result of a command, or nothing."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def cell(row):
    """Return a time, or the reason why there is none."""
    return f"{row['median_ms']:12.2f} ms" if row["median_ms"] is not None else f"   {row['reason']}"


def table(result, letters):
    """Print one line per contestant, with its time and its ratio to our time."""
    for case in result.get("results", []):
        size = ", ".join(f"{letter} = {case[letter]:,}" for letter in letters)
        if not case["contestants"]:
            print(f"\n{size}: {case['reason']}")
            continue
        print(f"\n{case['task']}, {size}")
        ours = case["contestants"][0]["median_ms"]
        for row in case["contestants"]:
            ratio = f"{row['median_ms'] / ours:10.1f} x" if row["median_ms"] and ours else ""
            print(f"  {row['name']:20}{cell(row)}{ratio}")
        if "of_fma" in case:
            print(f"  segcrf: {case['of_fma']:.0%} of the core's multiply-adds, {case['of_copy']:.0%} of its copy")


# %%
# Linear chain
# ------------
# ``nll+backward`` is the negative log-likelihood of a batch with its gradient. Where a peer returns arrays, compare
# it with "segcrf, as a tensor": ``decode`` of the drop-in returns lists, as pytorch-crf does.

chain = read("speed")
print(f"measured {chain['measured']} on {chain['machine']}" if chain else "not measured")
table(chain, "BTC")

# %%
# How many times as fast
# ----------------------
# These are the ratios to pytorch-crf and to the fastest peer of a size (decoding: without the lists). ``alone`` is the
# time of the same call in a loop by itself: in the interleaved runs above each call finds the caches of the processor
# full of another library's data and code. ``kernel`` is the share of the compiled kernel in it; the rest is Python
# around it, checks, autograd, and for decoding the lists of labels. Where there are many classes nearly all of the time
# is arithmetic, at the share of the core's multiply-adds in the table above. It is arithmetic in float64; the JAX
# scan's is in float32, twice as many values to an instruction.

alone = {(row["B"], row["T"], row["C"], row["task"]): row for row in chain.get("inside", [])}


def times(ratio):
    return f"{ratio:.1f} x"


for task in ("nll+backward", "decode"):
    print(f"{task:16}{'pytorch-crf':>14}{'fastest peer':>14}")
    for case in chain.get("results", []):
        if case["task"] != task:
            continue
        medians = {row["name"]: row["median_ms"] for row in case["contestants"] if row["median_ms"]}
        own = [medians.pop(name) for name in ("segcrf", "segcrf, as a tensor") if name in medians]
        fastest = min(medians, key=lambda name: medians[name])
        size = (case["B"], case["T"], case["C"])
        row = alone.get((*size, task))
        detail = f"{own[0]:.2f} ms, alone {row['ms']:.2f}, kernel {row['kernel']:.0%}" if row else ""
        ratios = f"{times(medians['pytorch-crf'] / own[0]):>14}{times(medians[fastest] / own[-1]):>14}"
        print(f"  {size!s:14}{ratios} ({fastest})  {detail}")

# %%
# Semi-Markov
# -----------

semimarkov = read("speed_semimarkov")
print(f"measured {semimarkov['measured']} on {semimarkov['machine']}" if semimarkov else "not measured")
table(semimarkov, "BTKC")

# %%
# Time grows in proportion to T, and to K where K is long; memory grows in proportion to T alone.

for row in semimarkov.get("growth", []):
    size = f"T = {row['T']:>9,}, K = {row['K']:>5,}"
    print(f"{size}: {row['median_ms']:10.1f} ms, {row['added_mib']:8.1f} MiB at its peak")

# %%
# What a first call, a second core and a training step cost
# ---------------------------------------------------------
# Two threads are measured with ``OMP_WAIT_POLICY=passive`` in the environment. Otherwise PyTorch's own threads spin for
# some milliseconds after each of its operations, on the core that the second thread of a kernel needs.

for row in chain.get("first_call", []):
    print(f"first call, {row['task']}: {row['empty_cache_s']:.1f} s compiling, then {row['full_cache_s']:.2f} s")
for row in chain.get("two_threads", []):
    size = f"({row['B']}, {row['T']}, {row['C']})"
    print(f"two cores, {size} {row['task']}: {row['one_ms'] / row['two_ms']:.2f} x as fast as one")
for row in chain.get("training_step", []):
    print(f"training step with an LSTM: {row['layer']} takes {row['share']:.1%} of it")
for row in chain.get("memory", []):
    print(f"peak of {row['task']} at ({row['B']}, {row['T']}, {row['C']}), {row['name']}: {row['added_mib']} MiB")

# %%
# Growth with the length of the recording
# ---------------------------------------
# One recording of five classes. Both axes are logarithmic: a line of slope one is time in proportion to the work.

lines: dict = {}
for case in chain.get("growth", []):
    for row in case["contestants"]:
        if row["median_ms"] is not None:
            lines.setdefault(row["name"], []).append((case["T"], row["median_ms"]))


def log_log(lines, title):
    """Times by length, one line per name."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in sorted(lines.items()):
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(xlabel="frames T", ylabel="milliseconds", title=title)
    if lines:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
    return figure


growth = log_log(lines, "nll+backward, one recording, C = 5")

# %%
# The table covers the grid of B, T and C: our time, and how many times as long pytorch-crf and the fastest peer take
# (decoding: the drop-in beside pytorch-crf, the tensor beside the others). A dash means that pytorch-crf was not run,
# or that its float32 sums are wrong by more than 1e-3 of the largest value; the JSON has the reason of every cell.

grid = read("speed_grid")
print(f"measured {grid['measured']} on {grid['machine']}" if grid else "not measured")
for case in grid.get("results", []):
    times = {row["name"]: row["median_ms"] for row in case["contestants"] if row["median_ms"]}
    size = f"{case['task']:13} {case['B']:>4} {case['T']:>9,} {case['C']:>4}"
    if "segcrf" not in times:
        print(f"{size}  {case.get('reason', 'not measured')}")
        continue
    own = [times.pop(name) for name in ("segcrf", "segcrf, as a tensor") if name in times]
    theirs = f"{times['pytorch-crf'] / own[0]:9,.0f} x" if "pytorch-crf" in times else f"{'–':>11}"
    fastest = min(times, key=lambda name: times[name], default="")
    rival = f"{times[fastest] / own[-1]:8.1f} x ({fastest})" if fastest else "no peer left"
    print(f"{size} {own[0]:11.2f} ms {theirs} {rival}")

# %%
# 16 recordings of five classes, and of a hundred.

grids: dict = {5: {}, 100: {}}
for case in grid.get("results", []):
    if case["B"] == 16 and case["C"] in grids and case["task"] == "nll+backward":
        for row in case["contestants"]:
            if row["median_ms"] is not None:
                grids[case["C"]].setdefault(row["name"], []).append((case["T"], row["median_ms"]))

few = log_log(grids[5], "nll+backward, B = 16, C = 5")
many = log_log(grids[100], "nll+backward, B = 16, C = 100")
