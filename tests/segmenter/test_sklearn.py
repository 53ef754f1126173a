"""scikit-learn: its tools take a Segmenter, and a sample is a recording."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from segmenters import recordings

from segcrf import Segmenter

pytest.importorskip("sklearn", minversion="1.6")  # 1.6: tags

from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

SMALL: dict[str, Any] = {"hidden": 4, "max_epochs": 2, "window": 64, "learning_rate": 0.05, "progress": False}


class Halve(TransformerMixin, BaseEstimator):
    """Divide every signal of a list by two."""

    def fit(self, X: Any, y: Any = None) -> Halve:
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        return [x / 2.0 for x in X]


def test_clone_has_the_same_parameters_and_is_not_fitted() -> None:
    X, y, targets = recordings(3)
    model = Segmenter(**SMALL, classes=["a", "b", "c"], combine={"regression": 0.5}).fit(X, y, targets=targets)
    twin = clone(model)
    assert twin.get_params() == model.get_params() and not hasattr(twin, "model_")
    check_is_fitted(model)
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(twin)
    again = pickle.loads(pickle.dumps(model))
    assert all(np.array_equal(a, b) for a, b in zip(again.predict(X), model.predict(X), strict=True))


def test_tags_say_that_labels_are_required() -> None:
    tags = get_tags(Segmenter())
    assert tags.target_tags.required and not tags.input_tags.two_d_array and tags.estimator_type is None


@pytest.mark.parametrize("cv", [3, GroupKFold(n_splits=3)])
def test_cross_val_score_returns_the_score_of_each_fold(cv: Any) -> None:
    X, y, _ = recordings(6)
    groups = None if cv == 3 else ["a", "b", "c", "a", "b", "c"]
    scores = cross_val_score(Segmenter(**SMALL), X, y, cv=cv, groups=groups, error_score="raise")
    assert scores.shape == (3,) and ((scores > 0.3) & (scores <= 1.0)).all()
    if groups is not None:
        train = [i for i, group in enumerate(groups) if group != "a"]
        model = Segmenter(**SMALL).fit([X[i] for i in train], [y[i] for i in train])
        own = model.score([X[i] for i in (0, 3)], [y[i] for i in (0, 3)])
        assert isinstance(own, float) and own in scores


def test_grid_search_over_groups_finds_the_better_parameters() -> None:
    X, y, targets = recordings(6)
    search = GridSearchCV(Segmenter(**SMALL), {"learning_rate": [1e-6, 0.05]}, cv=GroupKFold(n_splits=2))
    search.fit(X, y, groups=[0, 1, 0, 1, 0, 1], targets=targets)
    assert search.best_params_ == {"learning_rate": 0.05}
    assert search.best_estimator_.n_targets_ == 1
    assert search.score(X, y) == search.best_estimator_.score(X, y) > 0.5
    assert [k.shape for k in search.predict(X)] == [k.shape for k in y]


def test_a_pipeline_prepares_signals_for_a_segmenter() -> None:
    X, y, targets = recordings(4)
    pipeline = Pipeline([("halve", Halve()), ("segmenter", Segmenter(**SMALL))])
    pipeline.fit(X, y, segmenter__targets=targets)
    alone = Segmenter(**SMALL).fit([x / 2.0 for x in X], y, targets=targets)
    assert pipeline.score(X, y) == alone.score([x / 2.0 for x in X], y)
    assert pipeline.set_params(segmenter__hidden=5).named_steps["segmenter"].hidden == 5
    assert cross_val_score(pipeline, X, y, cv=2, error_score="raise").shape == (2,)


def test_a_segmenter_does_not_import_scikit_learn() -> None:
    program = "import sys, segcrf; segcrf.Segmenter().get_params(); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
