"""How MLflow's list of runs is best looked at: a view in the form in which its own *Share* button and its menu *Views* store them.

`#/experiments/<id>/runs?workflowType=machine_learning&viewStateShareKey=leaderboard` opens it, and so does *Views*, *Leaderboard*; `sweeps` is the
same with each sweep's jobs in a group.
"""

import json
from typing import Any

_PREFIX = "mlflow.sharedViewState."

_COLUMNS = (
    "metrics.`test/accuracy`",
    "metrics.`test/accuracy_low`",
    "metrics.`test/accuracy_high`",
    "metrics.`test/macro_f1`",
    "metrics.`test/loss`",
    "metrics.`test/ece`",
    "metrics.`model/size_mib`",
    "metrics.`model/prediction_milliseconds`",
    "metrics.`model/training_seconds`",
    "params.`backbone.name`",
    "params.`finetune.unfreeze`",
    "params.`dataset.name`",
    "params.`seed`",
    "tags.`best_phase`",
    "tags.`sweep`",
    "tags.`complete`",
)
_SECTION = "test"


def tags() -> dict[str, str]:
    """Tags of an MLflow experiment: each view for its address, and the same as an entry of the menu."""
    by_sweep = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "sweep"}]}
    found = {}
    for name, state in (("leaderboard", view()), ("sweeps", view() | {"groupBy": by_sweep})):
        text = _compact(state)
        found[f"{_PREFIX}{name}"] = text
        found[f"{_PREFIX}{name}_entry"] = _compact(
            {"name": name.capitalize(), "createdAt": 0, "updatedAt": 0, "state": text}
        )
    return found


def view() -> dict[str, Any]:
    """Complete runs by test accuracy, what matters first, and charts that compare them without hand work."""
    return {
        "searchFilter": "tags.complete = 'true'",
        "orderByKey": "metrics.`test/accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": _COLUMNS,
        "columnOrder": _COLUMNS,
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": _charts(),
        "compareRunSections": [
            {"uuid": _SECTION, "name": "Leaderboard", "display": True, "isReordered": True, "deleted": False}
        ],
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _compact(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _charts() -> list[dict[str, Any]]:
    accuracy = {"key": "test/accuracy", "type": "METRIC"}
    charts = [
        {"type": "BAR", "metricKey": "test/accuracy"},
        {"type": "LINE", "metricKey": "validation/accuracy", "selectedMetricKeys": ["validation/accuracy"], **_LINE},
        {"type": "LINE", "metricKey": "validation/loss", "selectedMetricKeys": ["validation/loss"], **_LINE},
        {"type": "SCATTER", "xaxis": {"key": "model/prediction_milliseconds", "type": "METRIC"}, "yaxis": accuracy},
        {"type": "SCATTER", "xaxis": {"key": "model/trainable_parameters", "type": "METRIC"}, "yaxis": accuracy},
        {
            "type": "PARALLEL",
            "selectedParams": ["backbone.name", "finetune.unfreeze"],
            "selectedMetrics": ["test/accuracy"],
            "showAllRuns": False,
        },
    ]
    common = {"runsCountToCompare": 20, "metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return [{"uuid": f"chart{number}", **common, **chart} for number, chart in enumerate(charts)]


_LINE = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}
