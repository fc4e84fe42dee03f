"""What a run says of its differential privacy: the guarantee in words, and what was spent when."""

from __future__ import annotations

from collections.abc import Sequence

from foedus.config.guarantee import upwards
from foedus.reporting.charts import Line, line_chart
from foedus.reporting.frame import SMALL, Caption
from foedus.reporting.page import Figure, Table
from foedus.reporting.phrasing import metric_name, metric_value
from foedus.reporting.records import Guarantee, Run

NOT_PRIVATE = (
    "This run had no differential privacy: the model, and the updates on the way to it, may reveal some of what the "
    "rows hold."
)


def limits_of(guarantee: Guarantee | None) -> Sequence[str]:
    """Return what is not protected, a sentence each."""
    return [NOT_PRIVATE] if guarantee is None else guarantee.limits


def guarantee_table(guarantee: Guarantee) -> Table:
    """Return the guarantee's parameters as name and value."""
    return Table(
        "The guarantee", ["parameter", "value"], [list(row) for row in guarantee.facts.items()], frozenset({1})
    )


def spending_figures(run: Run) -> Sequence[Figure]:
    """Return what was spent after each round, and how good the model was for it, where the run tells.

    One that tells the whole run's epsilon alone, since more would tell sizes, has no curve.
    """
    spent = [(record.round, record.privacy.epsilon) for record in run.rounds if record.privacy is not None]
    if not spent or (len(spent) > 1 and len({epsilon for _, epsilon in spent}) == 1):
        return []
    caption = Caption(
        "privacy-spent", "Privacy spent", f"Epsilon rises over {len(spent)} rounds to {upwards(spent[-1][1])}."
    )
    table = Table("Privacy spent", ["round", "epsilon"], [[f"{number:,}", upwards(eps)] for number, eps in spent])
    chart = line_chart(caption, [Line("spent", spent, "s1")], y_label="epsilon", size=SMALL)
    figures = [Figure(caption, chart, table, half=True)]
    metric = run.summary.headline
    figures_of = [(record.privacy, (record.evaluation and record.evaluation.all) or {}) for record in run.rounds]
    reached = [(privacy.epsilon, told[metric]) for privacy, told in figures_of if privacy and metric in told]
    if reached:
        title = f"{metric_name(metric).capitalize()} for the privacy spent"
        caption = Caption("privacy-utility", title, f"{title}: the same rounds, over epsilon.")
        table = Table(title, ["epsilon", metric_name(metric)], [[upwards(e), metric_value(v)] for e, v in reached])
        lines = [Line("all sites", reached, "all")]
        chart = line_chart(caption, lines, y_label=metric_name(metric), size=SMALL, x_label="epsilon")
        note = "One run's way: another total would have had other noise in every round."
        figures.append(Figure(caption, chart, table, note, half=True))
    return figures
