"""A cross-fitted linear model: graded risk for the reasoning, words that weigh, and the floor that a card names.

The floor is TF-IDF over words and word pairs with logistic regression, the settings fixed below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train_jobs.builtin.corpus import TextRow, bucket

FOLDS = 4
WORD = re.compile(r"\b\w\w+\b")


def pair_text(request: str, response: str) -> str:
    """The form in which a request and its response are one document."""
    return f"{request} ||| {response}"


@dataclass(frozen=True, slots=True)
class LinearModel:
    """One fitted TF-IDF and logistic regression."""

    vectorizer: Any
    regression: Any

    def p_harmful(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """P(harmful) of each text, shape (texts,)."""
        p: npt.NDArray[np.float64] = self.regression.predict_proba(self.vectorizer.transform(texts))[:, 1]
        return p

    def weight(self, word: str) -> float:
        """The word's share in the log-odds, by its coefficient and rarity."""
        at = self.vectorizer.vocabulary_.get(word.lower())
        return 0.0 if at is None else float(self.regression.coef_[0, at] * self.vectorizer.idf_[at])


def fit(texts: Sequence[str], harmful: Sequence[bool]) -> LinearModel:
    """Fit the floor's model: `TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)`, C = 4."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    regression = LogisticRegression(C=4, max_iter=400)
    regression.fit(vectorizer.fit_transform(texts), np.asarray(harmful))
    return LinearModel(vectorizer, regression)


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """One model a fold; a text is always scored by the model that has not seen it."""

    models: tuple[LinearModel, ...]

    def _fold(self, key: str) -> LinearModel:
        return self.models[bucket(key, len(self.models), "fold-v1")]

    def p_harmful(self, texts: Sequence[str], keys: Sequence[str]) -> npt.NDArray[np.float64]:
        """P(harmful) of each text by the model that was fitted without its key, shape (texts,)."""
        out = np.empty(len(texts))
        folds = [bucket(key, len(self.models), "fold-v1") for key in keys]
        for fold, model in enumerate(self.models):
            mine = [at for at, each in enumerate(folds) if each == fold]
            if mine:
                out[mine] = model.p_harmful([texts[at] for at in mine])
        return out

    def telling_words(self, text: str, key: str, towards_harm: bool, count: int = 3) -> list[str]:
        """The words of the text that weigh most in one direction, as they are written there, weightiest first.

        Words such as "how" and "the" are left out: they weigh by style alone.
        """
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        model = self._fold(key)
        found: dict[str, tuple[float, str]] = {}
        for match in WORD.finditer(text):
            weight = model.weight(match.group()) * (1 if towards_harm else -1)
            if weight > 1.0 and match.group().lower() not in ENGLISH_STOP_WORDS:
                found.setdefault(match.group().lower(), (weight, match.group()))
        return [word for _, word in sorted(found.values(), key=lambda each: (-each[0], each[1]))[:count]]


def cross_fit(texts: Sequence[str], harmful: Sequence[bool], keys: Sequence[str]) -> CrossFitted:
    """Fit one model for each fold on the rows outside it; rows with one key share a fold."""
    folds = np.array([bucket(key, FOLDS, "fold-v1") for key in keys])
    models = []
    for fold in range(FOLDS):
        others = np.flatnonzero(folds != fold).tolist()
        models.append(fit([texts[at] for at in others], [harmful[at] for at in others]))
    return CrossFitted(tuple(models))


def document(row: TextRow) -> str:
    """The text by which a row is scored: the request, or the pair."""
    return row.request if row.response is None else pair_text(row.request, row.response)
