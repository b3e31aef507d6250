"""What heads are made of: layers against plain formulas, rows of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from moderato.layers import Affine, Curves, Linear, Network, Relu, sigmoid, softmax

RANDOM = np.random.RandomState(3)


def rows(count: int = 40, dim: int = 6) -> NDArray[np.float32]:
    found = RANDOM.standard_normal((count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def linear(gives: int, reads: int) -> Linear:
    return Linear(RANDOM.standard_normal((gives, reads)).astype(np.float32), np.float32(RANDOM.standard_normal(gives)))


def affine(width: int) -> Affine:
    return Affine(*(RANDOM.standard_normal((2, width)).astype(np.float32) + 1))


def curves() -> Curves:
    x = np.sort(RANDOM.standard_normal((2, 4)), axis=1).astype(np.float32)
    return Curves(np.array([1, 4]), x, RANDOM.standard_normal((2, 4)).astype(np.float32))


def test_layers_are_run_one_after_another() -> None:
    first, second, third, fourth = curves(), affine(6), linear(3, 6), linear(2, 3)
    network = Network((first, second, third, Relu(), fourth), "sigmoid")
    given = rows()
    expected = given.astype(np.float64)
    for column, x, y in zip(first.columns, first.x, first.y, strict=True):
        expected[:, column] = np.interp(expected[:, column], x, y)
    expected = (expected * second.scale + second.shift) @ third.weight.T + third.bias
    expected = np.maximum(expected, 0) @ fourth.weight.T + fourth.bias
    np.testing.assert_allclose(network(given), 1 / (1 + np.exp(-expected)), atol=1e-6)
    assert not np.allclose(network(given), Network((first, second, third, fourth), "sigmoid")(given), atol=1e-3)


def test_a_normalisation_behind_a_relu_is_not_lost() -> None:
    layers = (linear(4, 6), Relu(), affine(4), linear(1, 4))
    given = rows()
    found = given
    for layer in layers:
        found = layer(found)
    np.testing.assert_allclose(Network(layers, "sigmoid")(given), sigmoid(found), atol=1e-6)
    last = Network((*layers[:2], affine(4)), "raw")(given)  # and one with nothing behind it is still run
    assert last.shape == (40, 4)


def test_layers_never_write_to_what_they_are_given() -> None:
    given = rows()
    before = given.copy()
    for layer in (curves(), affine(6), linear(2, 6), Relu()):
        layer(given)
        Network((layer,), "raw", unit=False)(given)
    np.testing.assert_array_equal(given, before)


def test_batch_and_single_agree() -> None:
    network, given = Network((curves(), affine(6), linear(3, 6)), "softmax"), rows()
    np.testing.assert_allclose(network(given), np.concatenate([network(row[None]) for row in given]), atol=1e-6)
    assert network(given[:0]).shape == (0, 3)


def test_outputs() -> None:
    logits = np.array([[-200, 0, 200], [1, 2, 3]], np.float32)
    np.testing.assert_allclose(sigmoid(logits)[0], [0, 0.5, 1])
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, atol=1e-6)
    weights = np.eye(3, dtype=np.float32)
    cut = Network((Linear(weights, np.zeros(3, np.float32)),), "raw", unit=False)
    np.testing.assert_array_equal(cut(logits), [[0, 0, 1], [1, 1, 1]])


def test_rows_of_other_lengths_are_brought_to_unit_length_where_the_network_wants_it() -> None:
    layers, given = (linear(2, 6),), rows()
    for unit in (True, False):
        network = Network(layers, "sigmoid", unit)
        same = np.allclose(network(given * 7), network(given), atol=1e-6)
        assert same == unit


def test_a_row_of_zeros_has_no_score_where_a_unit_row_is_wanted() -> None:
    zeros = np.zeros((2, 6), np.float32)
    assert np.isnan(Network((linear(2, 6),), "sigmoid")(zeros)).all()
    assert np.isfinite(Network((linear(2, 6),), "sigmoid", unit=False)(zeros)).all()


def test_rows_that_are_unit_up_to_rounding_stay_to_the_bit() -> None:
    seen = []

    class Look:
        arrays = ()

        def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
            seen.append(rows)
            return rows

    stored = rows(300, 512).astype(np.float16)
    Network((Look(),), "raw")(stored)
    np.testing.assert_array_equal(seen[0], stored)
    Network((Look(),), "raw")(np.concatenate([stored, stored * np.float16(2)]))
    np.testing.assert_array_equal(seen[1][:300], stored)
    np.testing.assert_allclose(np.linalg.norm(seen[1][300:].astype(np.float64), axis=1), 1, atol=1e-5)


def test_every_float16_is_widened_exactly() -> None:
    seen = []

    class Look:
        arrays = ()

        def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
            seen.append(rows)
            return rows

    every = np.arange(65536, dtype=np.uint16).view(np.float16)[:, None]
    finite = every[np.isfinite(every[:, 0])]
    for given in (finite, every, finite[::-3], finite.astype(">f2")):
        Network((Look(),), "raw", unit=False)(given)
        np.testing.assert_array_equal(seen[-1], given.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(seen[0]), np.signbit(finite))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("output", ["sigmoid", "softmax", "raw"])
def test_a_row_that_is_not_finite_has_no_scores(dtype: str, unit: bool, output: str) -> None:
    network = Network((curves(), affine(6), linear(3, 6), Relu(), linear(2, 3)), output, unit)  # type: ignore[arg-type]
    given = rows().astype(dtype)
    for row, value in enumerate((np.nan, np.inf, -np.inf)):
        for column in (0, 1):
            given[2 * row + column, column] = value
    scores = network(given)
    assert np.isnan(scores[:6]).all()
    np.testing.assert_allclose(scores[6:], network(given[6:]), atol=1e-6)
    assert np.isfinite(scores[6:]).all()


def test_numbers_too_large_for_float32_give_no_scores() -> None:
    network = Network((linear(2, 6),), "sigmoid", unit=False)
    given = rows().astype(np.float64)
    given[3] *= 1e300
    assert [*np.isnan(network(given)).all(axis=1).nonzero()[0]] == [3]
    loud = Network((Linear(np.full((2, 6), 3e38, np.float32), np.zeros(2, np.float32)),), "softmax")
    assert np.isnan(loud(np.ones((1, 6), np.float32))).all()


def test_a_fingerprint_tells_networks_apart() -> None:
    weights, bias, flat = np.ones((2, 6), np.float32), np.zeros(2, np.float32), np.zeros((2, 6), np.float32)
    networks = [
        Network((Linear(weights, bias),), "sigmoid"),
        Network((Linear(weights, bias),), "softmax"),
        Network((Linear(weights, bias),), "sigmoid", unit=False),
        Network((Linear(weights, bias), Relu()), "sigmoid"),
        Network((Linear(flat, bias),), "sigmoid"),
        Network((Affine(weights[0], flat[0]), Linear(weights, bias)), "sigmoid"),
    ]
    assert len({network.fingerprint for network in networks}) == len(networks)
    assert networks[0].fingerprint == Network((Linear(weights.copy(), bias),), "sigmoid").fingerprint
    assert {network.dim for network in networks} == {6}
