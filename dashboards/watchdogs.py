"""What Grafana is provisioned with beside dashboards: the data source, the folder, and watchdogs over ourselves.

Alerts about vehicles are the pipeline's own; Grafana, which looks every ten seconds at best, only watches whether the pipeline lives.
Every query ends in `_time`, `_value` and no label, and gives a row when there is nothing, so that silence fires.
"""

from __future__ import annotations

from typing import Any

FOLDER = "Rahdar"

DATASOURCES: dict[str, Any] = {
    "apiVersion": 1,
    "prune": True,
    "datasources": [
        {
            "name": "Rahdar InfluxDB", "uid": "rahdar-influx", "type": "influxdb", "access": "proxy", "url": "${INFLUX_URL}",
            "isDefault": True, "editable": False,
            "jsonData": {
                "version": "Flux", "organization": "${INFLUX_ORG}", "defaultBucket": "rahdar_system", "maxSeries": 5000,
                "timeInterval": "1s",
            },
            "secureJsonData": {"token": "$__file{/run/secrets/influx_reader_token}"},
        }
    ],
}  # fmt: skip

DASHBOARDS: dict[str, Any] = {
    "apiVersion": 1,
    "providers": [
        {
            "name": "rahdar", "orgId": 1, "folder": FOLDER, "folderUid": "rahdar", "type": "file", "disableDeletion": True,
            "allowUiUpdates": False, "updateIntervalSeconds": 30,
            "options": {"path": "/etc/grafana/dashboards", "foldersFromFilesStructure": False},
        }
    ],
}  # fmt: skip


def _rule(
    uid: str, title: str, query: str, over: str, limit: float, wait: str, summary: str, severity: str = "critical"
) -> dict[str, Any]:
    window = {"from": 600, "to": 0}
    expression = {"type": "__expr__", "uid": "__expr__"}
    return {
        "uid": uid, "title": title, "condition": "C", "for": wait, "keepFiringFor": "1m", "noDataState": "Alerting",
        "execErrState": "Alerting", "isPaused": False,
        "labels": {"severity": severity, "team": "duty-engineer"},
        "annotations": {"summary": summary, "__dashboardUid__": "rahdar-pipeline"},
        "data": [
            {
                "refId": "A", "relativeTimeRange": window, "datasourceUid": "rahdar-influx",
                "model": {"refId": "A", "intervalMs": 1000, "maxDataPoints": 43200, "query": query},
            },
            {
                "refId": "B", "relativeTimeRange": window, "datasourceUid": "__expr__",
                "model": {
                    "refId": "B", "type": "reduce", "expression": "A", "reducer": "last", "datasource": expression,
                    "settings": {"mode": "dropNN"},
                },
            },
            {
                "refId": "C", "relativeTimeRange": window, "datasourceUid": "__expr__",
                "model": {
                    "refId": "C", "type": "threshold", "expression": "B", "datasource": expression,
                    "conditions": [{"evaluator": {"type": over, "params": [limit]}}],
                },
            },
        ],
    }  # fmt: skip


def rules() -> list[dict[str, Any]]:
    from dashboards.model import flux

    return [
        _rule("rahdar_data_age", "No data", flux("data-age"), "gt", 30.0, "10s", "Ingest has not been heard for more than 30 s: no data is not all quiet"),
        _rule("rahdar_record_lag", "The wall is behind", flux("record-lag"), "gt", 10.0, "30s", "What the dashboards show is more than 10 s old"),
        _rule("rahdar_notifier", "The notifier is dead", flux("notifier-age"), "gt", 60.0, "10s", "No notifier has said for a minute that it lives: officers are not told"),
        _rule("rahdar_untold", "Nobody is told", flux("told-due"), "gt", 60.0, "10s", "A telling has been due for more than a minute, and no notifier takes it"),
        _rule("rahdar_set_aside", "Points are set aside", flux("set-aside"), "gt", 0.0, "0s", "InfluxDB refused points; they are among the rejects", "high"),
        _rule("rahdar_disk", "The disk fills", flux("disk"), "lt", 10.0, "1m", "Less than a tenth of the disk is left", "high"),
    ]  # fmt: skip


ALERTING: dict[str, Any] = {
    "apiVersion": 1,
    "groups": [{"orgId": 1, "name": "watchdogs", "folder": FOLDER, "interval": "10s", "rules": rules()}],
    "contactPoints": [
        {
            "orgId": 1, "name": "duty-engineer",
            "receivers": [
                {
                    "uid": "rahdar_duty", "type": "webhook", "disableResolveMessage": False,
                    "settings": {
                        "url": "${WATCHDOG_URL}", "httpMethod": "POST", "authorization_scheme": "Bearer",
                        "authorization_credentials": "$__file{/run/secrets/watchdog_token}",
                    },
                }
            ],
        }
    ],
    "policies": [
        {
            "orgId": 1, "receiver": "duty-engineer", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "30s",
            "repeat_interval": "30m",
        }
    ],
}  # fmt: skip
