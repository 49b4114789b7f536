from __future__ import annotations

import numpy as np

from benison.components.train.trees import target_statistics


def test_a_row_of_training_does_not_see_its_own_label():
    generator = np.random.default_rng(0)
    ids = np.arange(400)[:, None]  # each value once
    label = generator.normal(size=(400, 1))
    _, rows = target_statistics.fit(ids, np.array([0]), label, np.ones(len(ids)), seed=1)
    assert np.allclose(rows[:, 0], label.mean(), atol=1e-6)  # only the mean of all
    assert np.allclose(rows[:, 1], 0)  # no other row has this value


def test_other_rows_get_smoothed_means_of_all_training_rows():
    ids = np.repeat([[0], [3]], [30, 70], axis=0)
    label = np.repeat([[1.0], [0.0]], [30, 70], axis=0)
    statistics, _ = target_statistics.fit(ids, np.array([0]), label, np.ones(len(ids)), seed=1)
    got = statistics.arrays(np.array([[0], [3], [1], [4], [-1]]))
    assert np.allclose(got[:2, 0], [(30 + 5 * 0.3) / 35, 5 * 0.3 / 75])
    assert np.allclose(got[2:, 0], 0.3)  # ids that training did not have
    assert np.allclose(got[:, 1], np.log1p([30, 70, 0, 0, 0]))


def test_the_graph_has_the_same_statistics():
    import tensorflow as tf

    generator = np.random.default_rng(2)
    ids = np.stack([generator.integers(-1, limit, 500) for limit in (7, 300, 40)], axis=1)
    targets = generator.random((500, 3))
    statistics, rows = target_statistics.fit(ids, np.array([1, 2]), targets, np.ones(500), seed=3)
    assert rows.shape == (500, 8)
    others = generator.integers(-5, 400, (200, 3))
    of_graph = tf.function(statistics.function())(tf.constant(others)).numpy()
    assert np.array_equal(of_graph, statistics.arrays(others))


def test_without_columns_there_are_no_statistics():
    import tensorflow as tf

    statistics, rows = target_statistics.fit(
        np.zeros((5, 2), int), np.zeros(0, int), np.ones((5, 1)), np.ones(5), seed=0
    )
    assert rows.shape == (5, 0)
    assert statistics.arrays(np.zeros((4, 2), int)).shape == (4, 0)
    assert statistics.function()(tf.zeros([4, 2], tf.int64)).shape == (4, 0)
