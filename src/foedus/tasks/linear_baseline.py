"""What a linear model makes of the same texts: the figure that a Transformer has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from foedus.core.errors import MissingExtra
from foedus.data.sites import Site, Split
from foedus.federation.messages import ParticipantId, Sums
from foedus.tasks.encoding import text_column

# A class that training never showed has probability 0, and a mean loss that is infinite says nothing.
LEAST_PROBABILITY = 1e-15


def classify_linearly(
    sites: Sequence[Site], text: Sequence[str], label: str, labels: Sequence[str], split: Split
) -> Mapping[ParticipantId, Sums]:
    """Train TF-IDF over words, pairs of words and pieces of words with logistic regression on the pooled rows.

    Returns, for each site with rows in the split, the statistics that TextClassification scores.
    Raises: MissingExtra without scikit-learn.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union
    except ImportError as error:
        raise MissingExtra(
            "the TF-IDF baseline needs scikit-learn; install it with: pip install 'foedus[compare]'"
        ) from error

    def rows(site: Site, split: Split) -> tuple[list[str], list[str]]:
        if split not in site.splits:
            return [], []
        table = site.splits[split]
        columns = [text_column(table, name) for name in text]
        return [" ".join(parts) for parts in zip(*columns, strict=True)], text_column(table, label)

    texts: list[str] = []
    truth: list[str] = []
    for site in sites:
        more_texts, more_truth = rows(site, "train")
        texts += more_texts
        truth += more_truth
    classifier = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    classifier.fit(texts, truth)
    numbers = {name: number for number, name in enumerate(labels)}
    columns = torch.tensor([numbers[name] for name in classifier.classes_])
    tallies: dict[ParticipantId, Sums] = {}
    for site in sites:
        texts, truth = rows(site, split)
        if texts:
            probabilities = torch.full((len(texts), len(labels)), LEAST_PROBABILITY, dtype=torch.float64)
            probabilities[:, columns] = torch.from_numpy(classifier.predict_proba(texts)).clamp(min=LEAST_PROBABILITY)
            tallies[site.name] = _tally(probabilities, torch.tensor([numbers[name] for name in truth]))
    return tallies


def _tally(probabilities: torch.Tensor, truth: torch.Tensor) -> Sums:
    """Return the summed log loss and the confusion matrix: rows are true labels, columns predicted ones."""
    size = probabilities.shape[1]
    pairs = torch.bincount(truth * size + probabilities.argmax(-1), minlength=size * size)
    loss = -probabilities.gather(1, truth[:, None]).log().sum()
    return {"loss": loss, "confusion": pairs.view(size, size).double()}
