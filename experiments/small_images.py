"""A search on few small pictures: 7 classes of 60 pictures, 16x16 RGB, in a folder, as a first user would try.

The classes are gratings of seven directions with random colours, phases and noise, so that neither a colour nor a pixel
gives the class away. Writes JSON and a table with the accuracies of the default search of 3 trainings, and of the same
search with the 6 epochs that were the default before; guessing has 14.3 %.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from jaxnas.run.config import run_config
from jaxnas.run.search import search_images

CLASSES, PICTURES, PIXELS = 7, 60, 16


def grating(rng, label):
    """A picture of one class [16 16 3], uint8."""
    angle = np.pi * (label + rng.uniform(-0.2, 0.2)) / CLASSES
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    wave = np.sin(rng.uniform(1.0, 1.4) * (np.cos(angle) * rows + np.sin(angle) * columns) + rng.uniform(0, 2 * np.pi))
    colour, background = rng.uniform(-80, 80, (2, 3))
    noise = rng.normal(0, 12, (PIXELS, PIXELS, 3))
    return np.clip(128 + background + wave[..., None] * (colour + np.sign(colour) * 40) + noise, 0, 255).astype(
        np.uint8
    )


def write_pictures(folder, seed=0):
    """Write the pictures as PNG files, a folder for each class."""
    rng = np.random.default_rng(seed)
    for label in range(CLASSES):
        place = Path(folder, f"direction-{label}")
        place.mkdir(parents=True, exist_ok=True)
        for number in range(PICTURES):
            Image.fromarray(grating(rng, label)).save(place / f"{number:02d}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/small_images.json"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Path(temporary, "gratings")
        write_pictures(pictures)
        for epochs in (None, 6):
            for seed in range(options.seeds):
                config = run_config(data=str(pictures), pool=40, budget=3, seed=seed, epochs=epochs)
                run = search_images(config, Path(temporary, f"run-{epochs}-{seed}"), on_event=lambda event: None)
                result = run.outcomes["robot"].result
                row = {"epochs": run.config.training.epochs, "batch_size": run.config.training.batch_size, "seed": seed}
                row |= {"validation": result.best, "test": run.test_accuracy, "selected": run.selected}
                row |= {"seconds": {stage: round(seconds, 1) for stage, seconds in run.seconds.items()}}
                rows.append(row)
                print(row, flush=True)
    content = {"majority": 100 / CLASSES, "pool": 40, "budget": 3, "environment": run.environment, "runs": rows}
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    lines = ["| epochs | images of a step | seed | validation % | test % |", "|---|---|---|---|---|"]
    lines += ["| {epochs} | {batch_size} | {seed} | {validation:.2f} | {test:.2f} |".format(**row) for row in rows]
    options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
