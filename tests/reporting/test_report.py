import json
import math
import re
from pathlib import Path

import pytest

from foedus.core.errors import RunFolderError
from foedus.federation.events import RunEnded
from foedus.reporting.model_card import model_card
from foedus.reporting.records import read_run
from foedus.reporting.report import write_comparison_report, write_report
from foedus.reporting.watching import closing_lines
from reporting.made_runs import HOSPITALS, MadeRun, hospitals, make_comparison, make_run
from reporting.page_reading import Page, assert_sound, charts

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=1>',
    "a" * 150,
    "{{7*7}}",
    "ümlaut & co",
    "x\n\x1b[31m\x00y",
    "-",
)


def page_of(folder: Path) -> tuple[str, Page]:
    html = write_report(folder).read_text()
    return html, assert_sound(html)


def test_the_report_says_the_result_in_words_first(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path))
    assert re.search(
        r"8 sites trained a model together: accuracy 0\.\d{3} on all sites' test rows, up from 0\.\d{3} before "
        r"training; the worst site, heart_institute, has 0\.\d{3}\.",
        page.text,
    )
    for words in ("3.29 MB", "329 kB a round", "82,198", "0.36 % of 22,803,884", "ICD-10-CM codes, not clinical notes"):
        assert words in page.text


def test_the_report_stands_alone_and_lies_in_the_run_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert write_report(folder) == folder / "report.html"
    html = (folder / "report.html").read_text()
    assert "default-src 'none'" in html
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert list(folder.glob(".*")) == []


def test_every_site_has_its_curve_and_its_row_worst_first(tmp_path: Path) -> None:
    html, _page = page_of(make_run(tmp_path))
    wide = next(chart for chart in charts(html) if chart.get("class") == "chart wide")
    lines = {element.text for element in wide.iter("{http://www.w3.org/2000/svg}title")}
    assert set(HOSPITALS) | {"all sites"} <= lines
    rows = re.findall(r'<th scope="row">([a-z_]+)</th><td>(0\.\d{3})</td><td>[+−]', html)  # noqa: RUF001
    assert {name for name, _ in rows} == set(HOSPITALS)
    values = [float(value) for _, value in rows]
    assert values == sorted(values)


def test_every_chart_is_drawn_for_a_wide_screen_and_a_phone_or_small(tmp_path: Path) -> None:
    html, _ = page_of(make_run(tmp_path))
    classes = [chart.get("class") for chart in charts(html)]
    assert classes.count("chart wide") == classes.count("chart narrow") > 0
    for chart in charts(html):
        width = float((chart.get("viewBox") or "").split()[2])
        assert width <= 350 or chart.get("class") == "chart wide"


def test_many_sites_become_a_band_with_the_worst_and_the_best(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(sites=hospitals(64), rounds=30))
    html, _page = page_of(folder)
    first = charts(html)[0]
    texts = [element.text or "" for element in first.iter("{http://www.w3.org/2000/svg}text")]
    assert {"median site", "middle half", "full range", "all sites"} <= set(texts)
    assert sum(text.startswith(("worst: ", "best: ")) for text in texts) == 2
    assert sum("hospital_" in text for text in texts) == 2
    assert html.count('<div class="scroll tall"') > 0
    assert len(html) < 400_000


def test_without_figures_by_site_the_report_works_and_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(per_site=False, summary={"sites": None, "participants": 8}))
    _html, page = page_of(folder)
    assert "This run does not tell metrics by site: evaluation.per_site is off" in page.text
    assert "worst" not in page.text
    assert not any(name in page.text.split("Configuration and versions")[0] for name in HOSPITALS)
    assert "8 sites trained a model together" in page.text


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path, MadeRun(name="<b>&", sites=HOSTILE, summary={"data_note": "<i>note</i>", "labels": ["<u>"]})
    )
    make_comparison(folder.parent, sites=HOSTILE).rename(folder.parent / "<b>&-compare")
    html, page = page_of(folder)
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text
    assert not {"b", "i", "u"} & {tag for tag, _ in page.tags}
    assert "\x1b" not in html
    assert "\x00" not in html


def test_what_a_language_model_writes_is_shown_as_it_is(tmp_path: Path) -> None:
    samples = ["To be, or\nnot\x00 to be", "<script>alert(1)</script>"]
    html, page = page_of(make_run(tmp_path, MadeRun(headline="perplexity", summary={"samples": samples})))
    assert "What it writes" in page.text
    assert "To be, or\nnot" in html
    assert "<script>alert(1)</script>" in page.text
    assert "\x00" not in html
    _, without = page_of(make_run(tmp_path / "other"))
    assert "What it writes" not in without.text


def test_the_report_says_how_well_an_accuracy_is_known(tmp_path: Path) -> None:
    sites = {"a": {"train": 300, "test": 60}, "b": {"train": 300, "test": 40}}
    folder = make_run(tmp_path, MadeRun(sites=["a", "b"], final={"accuracy": 0.8}, summary={"sites": sites}))
    _, page = page_of(folder)
    # The margin: 1.96 standard errors of a share of 0.8 in 100 rows.
    assert "On 100 test rows, an accuracy of 0.800 is known to about ± 0.078 (95 %)" in page.text


def test_a_run_without_evaluations_still_has_a_report(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path, MadeRun(rounds=3, evaluated=False)))
    assert "it was not evaluated, so how good it is remains open" in page.text
    assert "The model was not evaluated in this run" in page.text


@pytest.mark.parametrize("evaluated", [True, False])
def test_one_round_is_enough(tmp_path: Path, evaluated: bool) -> None:
    html, _ = page_of(make_run(tmp_path, MadeRun(rounds=1, sites=["a"], evaluated=evaluated)))
    assert charts(html)


def test_no_round_at_all_is_said(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path, MadeRun(rounds=1, evaluated=False, summary={"rounds": 0, "finished": False, "bytes": {}})
    )
    (folder / "rounds.jsonl").write_text("")
    _, page = page_of(folder)
    assert "No round has recorded a metric" in page.text
    assert "This run is not finished" in page.text


def test_a_run_that_a_privacy_budget_ended_says_so_and_not_to_go_on(tmp_path: Path) -> None:
    reason = "round 3 would bring the budget icu of north to ε 8.4"
    folder = make_run(tmp_path, MadeRun(rounds=2, summary={"finished": False, "stopped": reason}))
    _, page = page_of(folder)
    assert f"This run ended after 2 rounds: {reason}" in page.text
    assert "foedus run --resume" not in page.text
    assert reason in model_card(read_run(folder))
    last_words = closing_lines(RunEnded(folder, None, None, {}))
    assert f"ended early: {reason}" in last_words


def test_a_diverged_run_is_called_diverged(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path, MadeRun(final={"accuracy": math.nan, "loss": math.inf})))
    assert "its accuracy is NaN: training diverged" in page.text


def test_nan_at_some_sites_is_shown_and_counts_as_the_worst(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary["final"]["sites"]["eye_clinic"]["accuracy"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    _, page = page_of(folder)
    assert "the worst site, eye_clinic, has NaN" in page.text


def test_a_result_that_got_worse_is_said_to_be_worse(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path, MadeRun(final={"accuracy": 0.01})))
    assert "accuracy 0.010 on all sites' test rows, down from 0.042 before training, which is worse" in page.text


def test_a_lower_perplexity_is_better(tmp_path: Path) -> None:
    _html, page = page_of(make_run(tmp_path, MadeRun(headline="perplexity", rounds=300, sites=hospitals(5))))
    assert re.search(
        r"perplexity \S+ \(\S+ bits per byte\) on all sites' test rows, down from 2,\d{3} before training; the worst",
        page.text,
    )
    assert "which is worse" not in page.text
    assert "perplexity (logarithmic scale)" in page.text
    assert "151 of 301 rounds" in page.text


def test_bytes_are_set_against_synchronising_after_every_step_where_steps_are_told(tmp_path: Path) -> None:
    made = MadeRun(rounds=2, headline="perplexity", steps=50, summary={"tokens": {"trained": 4_800_000}})
    page = assert_sound(write_report(make_run(tmp_path / "told", made)).read_text())
    assert "tokens trained on 4.8 million" in page.text
    # 2 rounds of 50 steps of 8 sites, each of 82,198 parameters of 4 bytes, over updates of 328,808 bytes
    assert "from the sites 2.63 MB 5.26 MB 263 MB 50.0" in page.text
    assert "both ways 5.26 MB 10.5 MB 526 MB 50.0" in page.text
    assert "bits per byte; " in page.text
    page = assert_sound(write_report(make_run(tmp_path / "untold", MadeRun(rounds=2))).read_text())
    assert "from the sites 2.63 MB 5.26 MB to the sites" in page.text
    assert "after every step" not in page.text
    assert "tokens trained on" not in page.text


def test_who_was_left_out_is_visible_only_if_somebody_was(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path / "smooth"))
    assert "Participation" not in page.text
    left_out = {
        (3, "eye_clinic"): "update holds NaN",
        (4, "eye_clinic"): "update holds NaN",
        (7, "city_general"): "no reply",
    }
    folder = make_run(tmp_path / "rough", MadeRun(left_out=left_out, fallen={7: "1 of 8 updates could be used"}))
    _, page = page_of(folder)
    assert "eye_clinic and city_general were left out of at least one round; 1 of 10 rounds did not stand." in page.text
    assert "eye_clinic training 3–4 2 update holds NaN" in page.text  # noqa: RUF001
    assert "1 of 8 updates could be used" in page.text
    assert "rounds trained" in page.text


def test_a_comparison_beside_the_run_is_shown_in_its_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    _, page = page_of(folder)
    assert "TF-IDF" not in page.text
    make_comparison(tmp_path)
    _, page = page_of(folder)
    assert "Training on pooled rows gives" in page.text
    assert "What each site gains by taking part" in page.text


def test_the_comparison_says_ratio_gain_and_baseline(tmp_path: Path) -> None:
    html = write_comparison_report(make_comparison(tmp_path)).read_text()
    page = assert_sound(html)
    assert re.search(r"accuracy 0\.\d{3} ± 0\.\d{3} on all sites' rows \(mean ± deviation over 3 seeds\)", page.text)
    assert re.search(r"federated reaches 9\d\.\d % of it", page.text)
    assert "so training together pays" in page.text
    assert "8 of 8 sites gain" in page.text
    assert re.search(r"local only 0\.\d{3} ± 0\.\d{3} \(best 0\.\d{3}\)", page.text)


def test_one_seed_has_no_deviation_and_is_called_few(tmp_path: Path) -> None:
    page = assert_sound(write_comparison_report(make_comparison(tmp_path, sites=["a", "b"], seeds=[0])).read_text())
    assert "±" not in page.text.split("What this does not say")[0].replace("mean ± deviation", "")
    assert "1 seed cannot tell small differences from chance" in page.text


def test_a_better_baseline_is_not_hidden(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path)
    comparison = json.loads((folder / "comparison.json").read_text())
    for run in comparison["arms"][3]["runs"]:
        run["all"]["accuracy"] = 0.95
    (folder / "comparison.json").write_text(json.dumps(comparison))
    page = assert_sound(write_comparison_report(folder).read_text())
    assert "which is better: consider it first" in page.text


def test_a_comparison_of_many_sites_draws_those_that_gain_least(tmp_path: Path) -> None:
    page = assert_sound(write_comparison_report(make_comparison(tmp_path, sites=hospitals(64))).read_text())
    assert "The 24 that gain least are drawn" in page.text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        write_report(tmp_path)
    with pytest.raises(RunFolderError):
        write_comparison_report(tmp_path)


GUARANTEE = {
    "unit": "record",
    "epsilon": 7.991,
    "delta": 1e-4,
    "statement": "Each record is hidden.",
    "facts": {"clip norm": "0.1"},
    "limits": ["Groups of records are not hidden."],
}


def spend(folder: Path, *, rising: bool = True) -> None:
    """Let every round but the one before training say what it spent."""
    records = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    told = [
        record | {"privacy": {"epsilon": 0.8 * record["round"] if rising else 8.0}} if record["round"] else record
        for record in records
    ]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in told))


def test_a_private_run_says_its_guarantee_what_it_spent_and_what_is_not_protected(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(per_site=False, summary={"privacy": GUARANTEE}))
    spend(folder)
    html, _ = page_of(folder)
    assert "Each record is hidden." in html
    assert "Groups of records are not hidden." in html
    assert "had no differential privacy" not in html
    assert "Privacy spent" in html
    assert "Accuracy for the privacy spent" in html


def test_a_run_that_tells_one_epsilon_for_all_rounds_draws_no_curve_of_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(per_site=False, summary={"privacy": GUARANTEE}))
    spend(folder, rising=False)
    html, _ = page_of(folder)
    assert "Each record is hidden." in html
    assert "rivacy spent" not in html


def test_a_run_without_privacy_says_so(tmp_path: Path) -> None:
    html, _ = page_of(make_run(tmp_path))
    assert "had no differential privacy" in html
    assert "The guarantee" not in html


def test_a_run_that_its_budget_ended_says_why(tmp_path: Path) -> None:
    made = MadeRun(finished=False, summary={"privacy": GUARANTEE, "stopped": "the budget of north is spent"})
    html, _ = page_of(make_run(tmp_path, made))
    assert "the budget of north is spent" in html
    assert "--resume" not in html
