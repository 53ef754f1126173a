"""
How fast it is
==============

The structured layer and its peers, each on the same scores, in one process pinned to one core. Every result has been
compared with a float64 reference before its time was taken; runs were interleaved, and the times are medians. This
page is made from what these commands wrote:

.. code-block:: text

   python -m benchmarks.speed
   python -m benchmarks.speed --structure semimarkov
   python -m benchmarks.speed --grid

No GPU has been at hand yet: the kernels for GPUs are tested for their results, and their speed is *not measured*.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

folder = next(up for up in Path.cwd().resolve().parents if (up / "benchmarks").is_dir()) / "benchmarks" / "results"


def read(name):
    """What a command has written, or nothing."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def cell(row):
    """A time, or the reason for none."""
    return f"{row['median_ms']:12.2f} ms" if row["median_ms"] is not None else f"   {row['reason']}"


def table(result, letters):
    """One line per contestant, and how many times our time it takes."""
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
# Semi-Markov
# -----------

semimarkov = read("speed_semimarkov")
print(f"measured {semimarkov['measured']} on {semimarkov['machine']}" if semimarkov else "not measured")
table(semimarkov, "BTKC")

# %%
# Time in proportion to T, and to K where K is long; memory in proportion to T alone.

for row in semimarkov.get("growth", []):
    size = f"T = {row['T']:>9,}, K = {row['K']:>5,}"
    print(f"{size}: {row['median_ms']:10.1f} ms, {row['added_mib']:8.1f} MiB at its peak")

# %%
# What a first call, a second core and a training step cost
# ---------------------------------------------------------
# Two threads are measured with ``OMP_WAIT_POLICY=passive`` in the environment. Otherwise PyTorch's own threads spin for
# some milliseconds after each of its operations, on the very core that the second thread of a kernel wants.

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
# Over the grid: 16 recordings of five classes, and of a hundred.

grids: dict = {5: {}, 100: {}}
for case in read("speed_grid").get("results", []):
    if case["B"] == 16 and case["C"] in grids and case["task"] == "nll+backward":
        for row in case["contestants"]:
            if row["median_ms"] is not None:
                grids[case["C"]].setdefault(row["name"], []).append((case["T"], row["median_ms"]))

few = log_log(grids[5], "nll+backward, B = 16, C = 5")
many = log_log(grids[100], "nll+backward, B = 16, C = 100")
