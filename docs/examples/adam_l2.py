"""
The strange curve of Adam with L2
=================================

    *The loss falls fast, then hits a floor as if it had run into a wall, and gets noisier from there. The model is
    large enough. What is it?*

Often it is ``torch.optim.Adam(..., weight_decay=...)``. That is not weight decay: it adds ``λ·w`` to the *gradient*,
and Adam then divides the gradient by its own running size ``√v``. While gradients of the data are large, the penalty is
divided by something large and does little. As the fit gets good, they shrink, ``√v`` with them, and the penalty is
divided by something small: a weight with hardly any gradient from the data goes to zero at the full learning rate, for
any λ. So the better the fit, the stronger the penalty: a floor.

``torch.optim.AdamW`` takes ``lr·λ·w`` off the weight apart from all that (Loshchilov and Hutter, *Decoupled weight
decay regularization*, 2019).
"""

# %%
# A problem that can be solved exactly
# ------------------------------------
# A network learns another one of its own shape, so that a loss of zero exists.

import torch
from matplotlib.figure import Figure

STEPS = 2000


def run(optimiser: str, decay: float) -> tuple[list[float], list[float]]:
    """Losses, and norms of all weights, by step."""
    torch.manual_seed(0)

    def network() -> torch.nn.Sequential:
        return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))

    teacher, student = network(), network()
    chosen = getattr(torch.optim, optimiser)(student.parameters(), lr=5e-3, weight_decay=decay)
    losses, norms = [], []
    for _ in range(STEPS):
        x = torch.randn(64, 8)
        loss = (student(x) - teacher(x).detach()).square().mean()
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        losses.append(float(loss.detach()))
        norms.append(float(torch.cat([p.detach().flatten() for p in student.parameters()]).norm()))
    return losses, norms


curves = {
    "Adam, no decay": run("Adam", 0.0),
    "Adam with L2, λ = 0.01": run("Adam", 1e-2),
    "AdamW, λ = 0.01": run("AdamW", 1e-2),
}
for name, (losses, norms) in curves.items():
    tail = sum(losses[-500:]) / 500
    print(f"{name:<24} mean loss of the last 500 steps {tail:.1e}, norm of the weights {norms[-1]:.2f}")

# %%
# The signature: a fast fall, a floor, a noisy tail, and the norm of the weights collapses.

chart = Figure(figsize=(7.0, 2.6), layout="constrained")
left, right = chart.subplots(1, 2)
for name, (losses, norms) in curves.items():
    smooth = torch.tensor(losses).unfold(0, 20, 20).mean(1)
    left.plot(range(0, 20 * len(smooth), 20), smooth, label=name, linewidth=1)
    right.plot(norms, linewidth=1)
left.set(yscale="log", xlabel="step", ylabel="loss")
right.set(xlabel="step", ylabel="norm of the weights")
left.legend(frameon=False, fontsize=7)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)

# %%
# What segcrf does
# ----------------
# ``Segmenter`` trains with AdamW, and decay acts on matrices only: not on biases, not on the scores of the structured
# layer, because their size is the cost of a switch, and not on log-deviations. In a loop of your own take the same
# groups. A fit of segcrf reports decay on such parameters.

from segcrf.losses import JointObjective
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
from segcrf.training import parameter_groups

model, objective = JointModel(LSTMEncoder(3, hidden=8), LinearChainCRF(5), num_targets=1), JointObjective()
for group in parameter_groups(model, objective, learning_rate=1e-2, weight_decay=1e-2):
    size = sum(p.numel() for p in group["params"])
    print(f"{size:>5} parameters, decay {group['weight_decay']:g}, rate {group['lr']:g}")
