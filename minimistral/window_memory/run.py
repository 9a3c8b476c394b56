"""The study, model by model; a finished model is a file in the output folder, and is not done again."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from minimistral.cli.backend import training_pieces
from minimistral.errors import BadInput
from minimistral.whole_file import whole_file
from minimistral.window_memory.models import FULL, SMALL, Study, config_of, reached, recall, sudden, train
from minimistral.window_memory.task import CHANCE, FACTS

STUDIES = {
    "full": FULL,
    "small": SMALL,
    "full, sudden": sudden(FULL, 16, 4),
    "small, sudden": sudden(SMALL, 16, 4),
}
SUDDEN = "sudden"  # the folder of the model without a curriculum


def models_of(study: Study) -> list[tuple[int | None, int]]:
    """(window, layers) of each model, the quick ones first.

    >>> models_of(SMALL)
    [(8, 2), (16, 2), (None, 2), (8, 4), (16, 4), (None, 4)]
    """
    return [(window, n_layers) for n_layers in study.layers for window in study.windows]


def name_of(window: int | None, n_layers: int) -> str:
    """A model's name, and that of its file.

    >>> name_of(16, 4), name_of(None, 2)
    ('W16-L4', 'full-L2')
    """
    return f"{'full' if window is None else f'W{window}'}-L{n_layers}"


def one_model(kind: str, window: int | None, n_layers: int, folder: Path, backend: str) -> str:
    """Train and ask one model, and write its JSON and its weights; its name."""
    from safetensors.numpy import save_file

    study, config, name = STUDIES[kind], config_of(window, n_layers), name_of(window, n_layers)
    began = time.process_time()
    parameters, losses = train(study, config, training_pieces(backend))
    trained = time.process_time()
    found = recall(study, config, parameters)
    every = max(1, len(losses) // 100)
    report = {
        "window": window,
        "layers": n_layers,
        "parameters": sum(w.size for w in parameters.values()),
        "reach": None if window is None else n_layers * (window - 1) + 1,
        "paper's bound": None if window is None else n_layers * window,
        "95 % right up to": reached(found["bins"], 0.95),
        "50 % right up to": reached(found["bins"], 0.5),
        **found,
        "losses": [round(sum(losses[i : i + every]) / len(losses[i : i + every]), 4) for i in range(0, len(losses), every)],
        "steps a loss": every,
        "processor seconds": {"training": round(trained - began), "asking": round(time.process_time() - trained)},
    }  # fmt: skip
    with whole_file(folder / f"{name}.safetensors") as partial:
        save_file(parameters, partial, {"format": "pt"})
    with whole_file(folder / f"{name}.json") as partial:  # last: its presence says that the model is finished
        partial.write_text(json.dumps({"study": as_json(study), "model": report}, indent=1) + "\n", encoding="utf-8")
    return name


def as_json(study: Study) -> dict:
    """The settings, as JSON has them."""
    return json.loads(json.dumps(study._asdict())) | {"facts": FACTS, "chance": CHANCE}


def finished(folder: Path, study: Study, name: str) -> dict | None:
    """The report of a model that is done; BadInput if the folder holds that of another study, or it is damaged."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same, report = found["study"] == as_json(study), found["model"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"--output: {path}: cannot be read as a finished model; delete it to train that again") from None
    if not same:
        raise BadInput(f"--output: {path}: of a study with other settings, expected an empty folder or the same ones")
    return report


def run(kind: str, folder: Path, backend: str, jobs: int) -> Iterator[str]:
    """Train what is missing, `jobs` models at a time; yields the names as they are finished."""
    work = [(kind, *model, folder) for model in models_of(STUDIES[kind])]
    work += [(f"{kind}, sudden", *model, folder / SUDDEN) for model in models_of(STUDIES[f"{kind}, sudden"])]
    (folder / SUDDEN).mkdir(exist_ok=True)
    missing = [w for w in work if finished(w[3], STUDIES[w[0]], name_of(*w[1:3])) is None]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(one_model, *w, backend) for w in missing]
        try:
            for done in as_completed(futures):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def whole_report(kind: str, folder: Path) -> dict:
    """All models of a finished study, for the figure and the page."""
    reports = {}
    for key, name, where in (("models", kind, folder), ("sudden", f"{kind}, sudden", folder / SUDDEN)):
        reports[key] = [finished(where, STUDIES[name], name_of(*model)) for model in models_of(STUDIES[name])]
    return {"study": as_json(STUDIES[kind])} | reports
