"""The loss curve as a picture."""

from pathlib import Path

from minimistral.whole_file import whole_file


def draw_curve(metrics: list[dict], path: Path, title: str) -> None:
    """Loss of each step and of the held-out documents, against tokens, as a PNG. ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot([m["tokens"] for m in metrics], [m["loss"] for m in metrics], color="#9A9A9A", linewidth=0.8,
              label="a step's batch")  # fmt: skip
    held_out = [m for m in metrics if m.get("validation_loss") is not None]
    if held_out:
        axes.plot([m["tokens"] for m in held_out], [m["validation_loss"] for m in held_out], "o-", color="#0072B2",
                  markersize=3, label=f"held out: {held_out[-1]['validation_loss']:.3f} at the end")  # fmt: skip
    axes.set(xlabel="tokens", ylabel="loss, nats a token", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend()
    try:
        with whole_file(path) as partial:
            figure.savefig(partial, format="png", dpi=130)
    finally:
        pyplot.close(figure)
