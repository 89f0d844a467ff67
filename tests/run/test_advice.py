"""Advice on a result that is no better than guessing, and the summary of the images that a run keeps."""

import json
import math

import numpy as np
import pytest

from jaxnas.data.images import from_arrays, standardize
from jaxnas.run.advice import advise, read_summary, summarize_images

GREYS = np.random.default_rng(0).integers(0, 256, (70, 4, 6, 3), np.uint8)
IMAGES = summarize_images(standardize(from_arrays(GREYS, np.repeat(range(7), 10), class_names=tuple("abcdefg"))), None)
IMAGES = IMAGES._replace(num_validation=112, majority=100 / 7)
LEARNED, GUESSED = 0.2, math.log(7)


@pytest.mark.parametrize(
    ("best", "loss", "said"),
    [
        (15.0, GUESSED, ["no better than the most frequent class", "`epochs` = 24", "wider networks"]),
        (15.0, LEARNED, ["no better than the most frequent class", "more images", "labels belong"]),
        (60.0, 1.5, ["still underfits: training loss 1.50 nats after 6 epochs, guessing 1.95", "`epochs` = 24"]),
        (95.0, LEARNED, []),
    ],
)
def test_a_poor_result_has_a_remedy(best, loss, said):
    notes = advise(IMAGES, best, loss, epochs=6)
    assert len(notes) == bool(said)
    assert all(part in notes[0] for part in said)


def test_few_validation_images_do_not_prove_that_a_class_was_learned():
    assert advise(IMAGES._replace(num_validation=5), 40.0, LEARNED, 6)
    assert not advise(IMAGES._replace(num_validation=500), 40.0, LEARNED, 6)


def test_a_summary_is_read_back():
    data = standardize(from_arrays(GREYS, np.repeat(range(7), 10)))
    summary = summarize_images(data, None)
    assert read_summary(json.loads(json.dumps(summary._asdict()))) == summary
    assert (summary.shape, summary.class_names) == ((4, 6, 3), tuple("0123456"))
    assert (summary.num_training, summary.num_validation, summary.num_test) == (56, 0, 14)
    assert read_summary(None) is None
