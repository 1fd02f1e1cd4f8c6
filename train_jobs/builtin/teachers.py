"""The two teachers of a request's estimate, a linear model on words and one on sentence embeddings, and what they know
of single tokens. Responses have the linear model alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from train_jobs.builtin import sentences
from train_jobs.builtin.corpus import TextRow, bucket, request_side
from train_jobs.builtin.figures import logits
from train_jobs.builtin.linear import FOLDS

EMBEDDING_SCALE = 0.04
"""Standard deviation of the token embeddings that training begins with."""


def blended(first: Sequence[float], second: Sequence[float]) -> npt.NDArray[np.float64]:
    """Two teachers' probabilities as one: the mean of their log-odds, shape (rows,)."""
    p: npt.NDArray[np.float64] = 1 / (1 + np.exp(-(logits(first) + logits(second)) / 2))
    return p


def by_meaning(
    train: Sequence[TextRow], every: Sequence[TextRow], meanings: sentences.Meanings
) -> npt.NDArray[np.float64]:
    """P(harmful) of every row's request by logistic regression on its sentence embedding, shape (rows,).

    Cross-fitted over the folds of `linear.cross_fit`: no row is scored by a model that has seen its request.
    """
    from sklearn.linear_model import LogisticRegression

    texts = sorted({row.request for row in every})
    place = {text: at for at, text in enumerate(texts)}
    vectors = meanings.of(texts)
    fitted = request_side(train)
    spots = np.array([place[row.request] for row in fitted])
    harmful = np.array([row.request_label == "harmful" for row in fitted])
    folds = np.array([bucket(row.request, FOLDS, "fold-v1") for row in fitted])
    mine = np.array([bucket(text, FOLDS, "fold-v1") for text in texts])
    p = np.empty(len(texts))
    for fold in range(FOLDS):
        model = LogisticRegression(C=10, max_iter=1000).fit(vectors[spots[folds != fold]], harmful[folds != fold])
        p[mine == fold] = model.predict_proba(vectors[mine == fold])[:, 1]
    return np.array([p[place[row.request]] for row in every])


def token_weights(token_ids: Sequence[Sequence[int]], harmful: Sequence[bool], vocabulary: int) -> sentences.Vectors:
    """What each token says of harm by itself: coefficients of a logistic regression on tokens, shape (vocabulary,).

    Args:
        token_ids: each text's tokens.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    rows = np.repeat(np.arange(len(token_ids)), [len(ids) for ids in token_ids])
    columns = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in token_ids])
    counts = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(token_ids), vocabulary))
    scaled = TfidfTransformer(sublinear_tf=True).fit(counts)
    model = LogisticRegression(C=4, max_iter=400).fit(scaled.transform(counts), np.asarray(harmful))
    weights: sentences.Vectors = (model.coef_[0] * scaled.idf_).astype(np.float32)
    return weights


def warm_start(tokenizer: Any, requests: sentences.Vectors, responses: sentences.Vectors, width: int) -> Any:
    """Token embeddings to begin with: the sentence encoder's word vectors by their main components, and harm weights.

    Args:
        requests, responses: what each token says of harm in a request and in a response, shape (vocabulary,).

    Returns:
        Array of shape (vocabulary, width), float32: first a constant, last the two weights; rows of tokens that the
        encoder does not know are random between these.
    """
    words = [tokenizer.decode([at]).strip() for at in range(len(tokenizer))]
    table = sentences.token_table(words)
    known = np.abs(table).sum(1) > 0
    centred = table - table[known].mean(0)
    _, _, axes = np.linalg.svd(centred[known], full_matrices=False)
    made = np.random.default_rng(1).normal(0, 1, (len(words), width)).astype(np.float32)
    parts = centred[known] @ axes[: width - 3].T
    made[:, 0] = 4.0
    made[known, 1 : width - 2] = parts / parts.std()
    for column, weights in ((width - 2, requests), (width - 1, responses)):
        made[:, column] = 3 * weights / max(float(weights.std()), 1e-6)
    return made * EMBEDDING_SCALE
