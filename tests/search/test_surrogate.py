"""The GPJax surrogate against a dense NumPy process, with padding and degenerate data."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnas.runtime.session import in_float64
from jaxnas.search import surrogate as gp

T, M = 8, 3
NOISE = 1e-6


def matern52(x, y, lengthscale):
    r = np.sqrt(5 * (((x[:, None] - y[None]) / lengthscale) ** 2).sum(-1))
    return (1 + r + r**2 / 3) * np.exp(-r)


def dense_gp(inputs, objective, points, lengthscale):
    offset, scale = objective.mean(), objective.std()
    covariance = matern52(inputs, inputs, lengthscale) + NOISE * np.eye(len(inputs))
    cross = matern52(points, inputs, lengthscale)
    mean = offset + scale * cross @ np.linalg.solve(covariance, (objective - offset) / scale)
    variance = 1 - (cross * np.linalg.solve(covariance, cross.T).T).sum(-1)
    return mean, scale * np.sqrt(variance)


def log_posterior(inputs, objective, lengthscale):
    targets = (objective - objective.mean()) / objective.std()
    covariance = matern52(inputs, inputs, lengthscale) + NOISE * np.eye(len(inputs))
    evidence = -0.5 * targets @ np.linalg.solve(covariance, targets) - 0.5 * np.linalg.slogdet(covariance)[1]
    return evidence - 0.5 * np.sum((np.log(lengthscale) / gp.PRIOR_DEVIATION) ** 2)


def make(ard):
    @in_float64
    @jax.jit
    def run(inputs, objective, count, points):
        surrogate = gp.fit(inputs, objective, count, ard=ard, noise=NOISE)
        return surrogate.lengthscale, *gp.predict(surrogate, points), surrogate.log_evidence

    return lambda *args: [np.asarray(value) for value in run(*args)]


@pytest.fixture(scope="module")
def fits():
    return {"isotropic": make(False), "ard": make(True)}


@pytest.fixture
def data():
    random = np.random.default_rng(1)
    inputs = random.uniform(-1, 1, (T, M))
    objective = 60 + 9 * np.sin(2 * inputs[:, 0]) + 4 * inputs[:, 1]
    return inputs, objective, random.uniform(-1, 1, (5, M))


@pytest.mark.parametrize("kind", ["isotropic", "ard"])
def test_matches_dense_process_at_its_lengthscale(fits, data, kind):
    inputs, objective, points = data
    lengthscale, mean, std, _ = fits[kind](inputs, objective, T, points)
    assert lengthscale.shape == ((M,) if kind == "ard" else (1,))
    expected_mean, expected_std = dense_gp(inputs, objective, points, lengthscale)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6)
    np.testing.assert_allclose(std, expected_std, rtol=1e-5)


def best_of_a_fine_grid(inputs, objective):
    return max(log_posterior(inputs, objective, lengthscale) for lengthscale in np.geomspace(1e-3, 1e4, 1000))


def test_lengthscale_maximises_the_posterior(fits, data):
    inputs, objective, points = data
    (isotropic,), *_ = fits["isotropic"](inputs, objective, T, points)
    ard, *_ = fits["ard"](inputs, objective, T, points)
    assert log_posterior(inputs, objective, isotropic) > best_of_a_fine_grid(inputs, objective) - 1e-5
    assert log_posterior(inputs, objective, ard) > log_posterior(inputs, objective, isotropic)
    assert ard[2] > 2 * ard[0]  # the third weight has no influence


@pytest.mark.parametrize("frequency", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("count", [2, 3, 5, T])
def test_lengthscale_maximises_the_posterior_of_smooth_and_rough_data(fits, data, frequency, count):
    _, _, points = data
    random = np.random.default_rng(round(10 * frequency) + count)
    inputs = random.uniform(-1, 1, (T, M))
    objective = np.sin(frequency * inputs @ np.array([1.0, -2.0, 0.5]))
    (lengthscale,), *_ = fits["isotropic"](inputs, objective, count, points)
    used = inputs[:count], objective[:count]
    assert log_posterior(*used, lengthscale) > best_of_a_fine_grid(*used) - 1e-4  # rounding if the noise is small


def test_predictions_are_those_of_the_gpjax_posterior(data):
    inputs, objective, points = data

    @in_float64
    @jax.jit
    def both():
        surrogate = gp.fit(jnp.asarray(inputs), jnp.asarray(objective), jnp.asarray(T), noise=NOISE)
        exact = surrogate.posterior(jnp.asarray(points), covariance="diagonal")
        std = surrogate.scale * jnp.sqrt(exact.variance)
        return gp.predict(surrogate, jnp.asarray(points)), (surrogate.offset + surrogate.scale * exact.mean, std)

    ours, expected = both()
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_gpjax_stays_usable_after_its_import_in_a_trace(fits, data):
    """The functions of gpjax have default keys, which must not leak into our trace."""
    inputs, objective, points = data
    fits["isotropic"](inputs, objective, T, points)
    import gpjax

    assert not isinstance(inspect.signature(gpjax.fit).parameters["key"].default, jax.core.Tracer)


@pytest.mark.parametrize("kind", ["isotropic", "ard"])
def test_padding_has_no_influence(fits, data, kind):
    inputs, objective, points = data
    lengthscale, mean, std, evidence = fits[kind](inputs, objective, 5, points)
    inputs, objective = inputs.copy(), objective.copy()
    inputs[5:], objective[5:] = 0.123, -1e6
    for value, other in zip((lengthscale, mean, std, evidence), fits[kind](inputs, objective, 5, points), strict=True):
        np.testing.assert_array_equal(value, other)
    expected_mean, expected_std = dense_gp(inputs[:5], objective[:5], points, lengthscale)  # 5 rows, no padding
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6)
    np.testing.assert_allclose(std, expected_std, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 5, T])
def test_log_evidence_is_the_density_of_the_used_rows(fits, data, count):
    inputs, objective, points = data
    (lengthscale,), *_, evidence = fits["isotropic"](inputs, objective, count, points)
    spread = objective[:count].std() if count > 1 else 1.0
    targets = (objective[:count] - objective[:count].mean()) / spread
    covariance = matern52(inputs[:count], inputs[:count], lengthscale) + NOISE * np.eye(count)
    expected = stats.multivariate_normal(np.zeros(count), covariance).logpdf(targets)
    np.testing.assert_allclose(evidence, expected, rtol=1e-8)


@pytest.mark.parametrize("kind", ["isotropic", "ard"])
@pytest.mark.parametrize("case", ["none", "one", "duplicates", "constant", "contradiction"])
def test_degenerate_data_stay_finite(fits, data, kind, case):
    inputs, objective, points = data
    count = {"none": 0, "one": 1}.get(case, T)
    if case in ("duplicates", "contradiction"):
        inputs = np.tile(inputs[:1], (T, 1))
    if case in ("duplicates", "constant"):
        objective = np.full(T, 71.5)
    lengthscale, mean, std, _ = fits[kind](inputs, objective, count, np.concatenate([points, inputs[:1]]))
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert (std >= 0).all()
    assert ((lengthscale > 1e-6) & (lengthscale < 1e6)).all()
    if case in ("duplicates", "constant"):
        np.testing.assert_allclose(mean, 71.5)


def test_sampled_functions_have_the_posterior_moments(data):
    inputs, objective, points = data

    @in_float64
    @jax.jit
    def draw(keys):
        surrogate = gp.fit(jnp.asarray(inputs), jnp.asarray(objective), jnp.asarray(5), noise=NOISE)
        samples = jax.lax.map(lambda key: gp.sample_function(surrogate, key)(jnp.asarray(points)), keys)
        return samples, *gp.predict(surrogate, jnp.asarray(points))

    samples, mean, std = (np.asarray(value) for value in draw(jax.random.split(jax.random.key(0), 400)))
    assert np.all(np.abs(samples.mean(0) - mean) < 5 * std / 20)
    np.testing.assert_allclose(samples.std(0), std, rtol=0.25)
