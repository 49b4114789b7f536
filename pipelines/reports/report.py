"""The report at the end of a run: each model's metrics, the rules' verdicts, the version and the next command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from benison.components.evaluate.verdicts import is_refusal
from benison.components.train.tree_cost import TreeCost
from benison.pipelines.drawings.numbers import figure
from benison.pipelines.facts import data_warnings, lite_model, training
from benison.pipelines.reports import run_page
from benison.pipelines.reports.tables import DataTable
from benison.pipelines.running import partial_run
from benison.pipelines.running.workers import last_lines
from benison.serving.versions.answer_interval import AnswerInterval

if TYPE_CHECKING:
    from benison.pipelines.records.runs import NodeRun, Run
    from benison.serving.predict import Prediction

EXIT_CODES: Mapping[str, int] = {
    "pushed": 0,
    "already_served": 0,
    "complete": 0,
    "failed": 1,
    "invalid": 1,
    "not_blessed": 3,
    "not_pushed": 3,
    "interrupted": 130,
}
_PUSHES_NOTHING = "this pipeline pushes nothing"
_COLUMNS = 5  # shown of each member's importances


def show(run: Run, console: Console, root: Path) -> None:
    """Print the report of a run."""
    for node in run.failed_nodes:
        _failure(node, console)
    for warning in data_warnings.of_run(run):
        console.print(f"\n[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True, highlight=False)
    _searches(run, console)
    blessing = read_blessing(run)
    if blessing:
        _metrics(blessing, console)
        _combiner(run, blessing, console)
        _tree_costs(run, console)
        _importances(run, console)
        _slices(blessing, console)
        _verdicts(blessing["verdicts"], console)
    _serving(run, console)
    _lite(run, console)
    _taken(run, console)
    _outcome(run, console, root)


def read_blessing(run: Run) -> dict[str, Any] | None:
    """Return `blessing.json` of a run; None if the run ended before the Blessing."""
    return _read(run, "ModelBlessing", "blessing.json")


def _read(run: Run, kind: str, name: str) -> dict[str, Any] | None:
    file = _file(run, kind, name)
    return json.loads(file.read_text()) if file else None


def _file(run: Run, kind: str, name: str) -> Path | None:
    # TFX's Evaluator also has an output of the type ModelBlessing, and leaves it empty.
    files = [Path(output["uri"]) / name for output in run.outputs(kind)]
    return next((file for file in files if file.is_file()), None)


def show_predictions(predictions: list[Prediction], console: Console) -> None:
    """Print one row per prediction: the ensemble's answer, the ends of its interval, then each member's answer."""
    members = list(predictions[0].members) if predictions else []
    interval = ["low", "high"] if predictions and predictions[0].interval else []
    table = DataTable("row", "ensemble", *interval, *members)
    for number, prediction in enumerate(predictions, start=1):
        by_member = [_answer(o, prediction.member_decisions.get(name, "")) for name, o in prediction.members.items()]
        ends = [f"{end:.6g}" for end in prediction.interval or ()]
        table.add_row(str(number), _answer(prediction.output, prediction.decision), *ends, *by_member)
    console.print(table)


def _answer(output: Mapping[str, float], decision: str = "") -> str:
    """Return the number, or the decision (by default the most likely class) and its probability."""
    if set(output) == {"prediction"}:
        return f"{output['prediction']:.6g}"
    name = decision or max(output, key=lambda name: output[name])
    return f"{name} {output[name]:.3f}"


def _failure(node: NodeRun, console: Console) -> None:
    verb = "found invalid data" if node.state == "invalid" else "failed"
    console.print(f"\n[bold red]{escape(node.id)} {verb}:[/] {escape(node.reason)}", soft_wrap=True, highlight=False)
    # For invalid data the reason is complete, and a traceback would only distract.
    for line in last_lines(Path(node.log), node.reason) if node.state != "invalid" else ():
        console.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  full log: {node.log}", markup=False, highlight=False, soft_wrap=True)


def _searches(run: Run, console: Console) -> None:
    """Print one line per Tuner: its trials, and the best one."""
    lines = []
    for node in run.nodes:
        for output in node.outputs.get("tuner_results", ()) if node.state in ("complete", "cached") else ():
            search = training.search(Path(output["uri"]))
            best, failed = search.trials[0], sum(trial.score is None for trial in search.trials)
            values = ", ".join(f"{name} {_short(value)}" for name, value in best.values.items())
            fault = f", {failed} failed" if failed else ""
            objective = search.objective.removeprefix("val_")
            best_one = f"best {objective} on valid {figure(best.score)}: {values}"
            lines.append(f"{node.id}: {len(search.trials)} trials{fault}; {best_one}")
    if lines:
        console.print("\n" + "\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metrics(blessing: Mapping[str, Any], console: Console) -> None:
    metrics = blessing["metrics"]
    names = list(next(iter(metrics.values())))
    table = DataTable("on test", *names)
    for model in names_of_models(metrics):
        style = "bold" if model == "ensemble" else ""
        table.add_row(model, *(figure(metrics[model][name]) for name in names), style=style)
    console.print()
    console.print(table)
    if blessing.get("positive"):
        threshold = blessing.get("threshold")
        limit = "" if threshold is None else f" (threshold {threshold:.4g})"
        console.print(f"positive class: {blessing['positive']}{limit}", markup=False, highlight=False)
    if weight := blessing.get("weight"):
        rows = f"{weight['rows']} rows of test, which tell as much as {weight['effective_rows']:.1f} of equal weight"
        console.print(f"metrics are weighted by {weight['column']}: {rows}", markup=False, highlight=False)
    if interval := blessing.get("interval"):
        console.print(AnswerInterval.model_validate(interval).text, markup=False, highlight=False, soft_wrap=True)


def _combiner(run: Run, blessing: Mapping[str, Any], console: Console) -> None:
    """Print each member's weight, and what it gains: out of fold, where that was measured, and on test."""
    fitted = _read(run, "Model", "ensemble_report.json")
    if fitted is None:
        return
    contributions = fitted["contributions"]
    columns: dict[str, list[str]] = {}
    if any(member["weight"] is not None for member in contributions):
        columns["weight"] = [figure(member["weight"]) for member in contributions]
    if any(member["gain"] is not None for member in contributions):
        columns["less loss out of fold"] = [_gain(member) for member in contributions]
    without = blessing["without"]
    if without:
        columns[f"{blessing['metric']} on test"] = [
            _gain(without.get(member["member"], {})) for member in contributions
        ]
    if not columns:
        return
    is_fitted = "less loss out of fold" in columns  # a mean, or fixed weights, take nothing from these rows
    rows = f", fitted on {fitted['rows']} rows{' of blend' if fitted.get('split') == 'blend' else ''}"
    table = DataTable(f"{fitted['combiner']}{rows if is_fitted else ''}", *columns)
    for member, *figures in zip(contributions, *columns.values(), strict=True):
        table.add_row(f"{member['member']}{'' if member['kept'] else ' (dropped)'}", *figures)
    console.print("\nwhat each member adds to the ensemble:")
    console.print(table)
    for member in contributions:
        if not member["kept"]:
            reason = f"{member['member']} is not in the ensemble: {member['why']}"
            console.print(reason, markup=False, highlight=False, soft_wrap=True)


def _importances(run: Run, console: Console) -> None:
    """Print the columns that are worth most to the ensemble."""
    file = _file(run, "ColumnImportance", "importance.json")
    if file is None:
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    if not found["models"]:
        return
    models = {name: found["models"][name] for name in names_of_models(found["models"])}
    columns = list(found["models"]["ensemble"])
    table = DataTable(f"{found['metric']} lost without", *models)
    for column in columns[:_COLUMNS]:
        losses = {name: of_model[column] for name, of_model in models.items()}
        figures = [
            _gain({"gain": loss["lost"], **loss}) if name == "ensemble" else figure(loss["lost"], sign="+")
            for name, loss in losses.items()
        ]
        table.add_row(column, *figures)
    console.print(f"\nwhat each column is worth, by shuffling it in {found['rows']} rows of test:", highlight=False)
    console.print(table)
    more = len(columns) - _COLUMNS
    rest = [f"{more} more columns are in {file}"] if more > 0 else []
    if found["not_measured"]:
        rest.append(f"{len(found['not_measured'])} columns were not measured")
    if rest:
        console.print("; ".join(rest), markup=False, highlight=False, soft_wrap=True)


def _tree_costs(run: Run, console: Console) -> None:
    """Print what trees cost that are not symmetric."""
    for node in run.nodes:
        for output in node.outputs.get("model", ()):
            name = node.id.partition(".")[2]
            if (cost := TreeCost.load(Path(output["uri"]))) is not None and not cost.symmetric:
                console.print(f"what {name} costs: {cost.text}", markup=False, highlight=False, soft_wrap=True)


def _gain(gain: Mapping[str, Any]) -> str:
    if gain.get("gain") is None:
        return "-"
    numbers = [gain[key] for key in ("gain", "low", "high")]
    middle, low, high = (figure(number, *numbers, sign="+") for number in numbers)
    return middle if gain["low"] is None else f"{middle} ({low} to {high})"


def _slices(blessing: Mapping[str, Any], console: Console) -> None:
    if not blessing["slices"]:
        return
    metric = blessing["metric"]
    models = names_of_models(blessing["metrics"])
    table = DataTable(f"{metric} by slice", "rows", *models)
    for name, cut in blessing["slices"].items():
        table.add_row(name, str(cut["rows"]), *(figure(cut["metrics"][m][metric]) for m in models))
    console.print()
    console.print(table)


def names_of_models(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the members, then the ensemble, then the served model."""
    last = [name for name in ("ensemble", "served") if name in metrics]
    return [name for name in metrics if name not in last] + last


def _verdicts(verdicts: Sequence[Mapping[str, Any]], console: Console) -> None:
    console.print()
    for verdict in verdicts:
        warning = "[bold yellow]warning[/]" if verdict.get("warning") else "[bold red]REFUSED[/]"
        mark = "[green]passed[/] " if verdict["passed"] else warning
        console.print(f"{mark} {escape(verdict['rule'])}: {escape(verdict['reason'])}", soft_wrap=True, highlight=False)


def _serving(run: Run, console: Console) -> None:
    """Print what ServingValidator refused; one line if it refused nothing. Its file has every check."""
    file = _file(run, "InfraBlessing", "serving.json")
    if file is None:
        return
    served = json.loads(file.read_text())
    refused = [verdict for verdict in served["verdicts"] if not verdict["passed"]]
    passed = len(served["verdicts"]) - len(refused)
    if refused:
        _verdicts(refused, console)
        console.print(
            f"passed  {passed} other checks on a model server; all are in {file}", soft_wrap=True, highlight=False
        )
        return
    summary = {
        "rule": "served on a model server",
        "passed": True,
        "reason": f"{passed} checks with {served['rows']['all']} rows; all are in {file}",
    }
    _verdicts([summary], console)


def _lite(run: Run, console: Console) -> None:
    """Print the verdict on the TensorFlow Lite file, without which the ensemble is pushed if it is refused."""
    if any(run.outputs("LiteModel")) and (file := _file(run, "LiteModel", "tflite.json")) is not None:
        found = lite_model.read(file.parent)
        _verdicts([{"rule": found.rule, "passed": found.passed, "warning": True, "reason": found.text}], console)


def _taken(run: Run, console: Console) -> None:
    """Print what a partial run took from which run, and what it ran."""
    if not run.part:
        return
    lines = [f"from run {origin}: {', '.join(nodes)}" for origin, nodes in partial_run.origins(run).items()]
    if ran := [node.id for node in run.nodes if node.started and not node.origin]:
        lines.append(f"run now: {', '.join(ran)}")
    console.print()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _outcome(run: Run, console: Console, root: Path) -> None:
    pushed: Mapping[str, Any] = next((output["properties"] for output in run.outputs("PushedModel")), {})
    option = "" if root == Path(".benison").absolute() else f" --root {shlex.quote(str(root))}"
    console.print()
    if run.outcome in ("pushed", "already_served"):
        _pushed(run, pushed, option, console)
    elif run.outcome == "not_blessed":
        verdict = "too few rows to judge, so not blessed" if _too_few_rows(run) else "not blessed"
        console.print(f"[bold yellow]{verdict}: nothing was pushed; the served version stays[/]", highlight=False)
    elif run.outcome == "not_pushed":
        reason = next((node.reason for node in run.nodes if node.state == "not_pushed"), "")
        console.print(f"[bold yellow]blessed, not pushed:[/] {escape(reason)}", highlight=False, soft_wrap=True)
        console.print("the served version stays")
    elif run.outcome == "complete":
        reason = f"nothing was pushed ({run.options}); the served version stays" if run.part else _PUSHES_NOTHING
        console.print(f"[bold green]complete[/]; {escape(reason)}", highlight=False, soft_wrap=True)
    else:
        console.print(f"[bold red]{run.outcome}[/]: nothing was pushed; the served version stays", highlight=False)
        if run.outcome == "interrupted":
            console.print("Finished nodes are cached; run the same command to continue.")
        if run.part:
            resume = f"to continue it: benison run {run.pipeline}{option} --resume {run.id}"
            console.print(resume, markup=False, highlight=False, soft_wrap=True)
    if (page := run.folder / run_page.FILE).is_file():
        console.print(Text.assemble("report: ", (str(page), f"link {page.as_uri()}")), soft_wrap=True)
    took = f"{run.seconds:.0f} s" if run.seconds is not None else ""
    console.print(f"{took}, {run.folder / 'run.json'}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _too_few_rows(run: Run) -> bool:
    """Return True if nothing but the number of rows was refused: the model may be good."""
    refused = [verdict for verdict in (read_blessing(run) or {}).get("verdicts", []) if is_refusal(verdict)]
    return bool(refused) and all(verdict.get("too_few_rows") for verdict in refused)


def _pushed(run: Run, pushed: Mapping[str, Any], option: str, console: Console) -> None:
    action = "blessed and pushed as" if pushed.get("pushed") else "blessed; already pushed as"
    if run.outcome == "already_served":
        action = "blessed; already served as"
    console.print(f"[bold green]{action} version {pushed['pushed_version']}[/]", highlight=False)
    console.print(f"  {pushed['pushed_destination']}", markup=False, highlight=False, soft_wrap=True)
    if "not_promoted" in pushed:
        reason = f"[bold yellow]pushed, not promoted:[/] {escape(pushed['not_promoted'])}"
        console.print(reason, highlight=False, soft_wrap=True)
        promote = f"benison promote {run.pipeline} {pushed['pushed_version']}{option}"
        hint = f"the served version stays; to serve this one: {promote}"
    else:
        from_records = any(node.kind == "ImportExampleGen" for node in run.nodes)  # `predict` reads CSV only
        command, more = ("serve", "") if from_records else ("predict", " --csv FILE --members")
        hint = f"next: benison {command} {run.pipeline}{option}{more}"
    console.print(hint, highlight=False, soft_wrap=True)
