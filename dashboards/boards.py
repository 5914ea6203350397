"""The dashboards: what an operator, a planner and an engineer ask, most urgent first."""

from __future__ import annotations

from dataclasses import replace

from dashboards.model import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    SEVERITY,
    SKY,
    Column,
    Dashboard,
    Panel,
    Step,
    Variable,
)

STALE: tuple[Step, ...] = ((None, GREY), (10, RED))
UNTOLD: tuple[Step, ...] = ((None, GREY), (60, RED))
ANY_RED: tuple[Step, ...] = ((None, GREY), (1, RED))
DESK = ("Open at the desk to acknowledge", "/?alert=${__data.fields.alert}")

REGION = Variable(
    "region", "Region",
    'import "strings"\n\nbuckets()\n  |> filter(fn: (r) => r.name =~ /^rahdar_.*_events$/)\n'
    '  |> map(fn: (r) => ({_value: strings.trimSuffix(v: strings.trimPrefix(v: r.name, prefix: "rahdar_"), suffix: "_events")}))\n'
    '  |> keep(columns: ["_value"])',
    "hazara",
)  # fmt: skip


def _tag(name: str, title: str, measurement: str, sample: str) -> Variable:
    query = (
        'import "influxdata/influxdb/schema"\n\n'
        f'schema.tagValues(bucket: "rahdar_${{region}}_raw", tag: "{name}", start: -7d,'
        f' predicate: (r) => r._measurement == "{measurement}")'
    )
    return Variable(name, title, query, sample)


VEHICLE = _tag("vehicle", "Vehicle", "positions", "c-1")
CONVOY = _tag("convoy", "Convoy", "convoys", "alpha")
SITE = _tag("site", "Site", "sensors", "dasu-camp")

DATA_AGE = Panel(
    "Data age", "Seconds since ingest was last heard. Red above 10 s: no data is not all quiet.", "stat", ("data-age",), 4, 4,
    unit="s", steps=STALE, decimals=0, link=("Pipeline health", "/d/rahdar-pipeline"),
)  # fmt: skip
LAG = Panel(
    "Record lag", "How far what you see here is behind the world. Red above 10 s.", "stat", ("record-lag",), 4, 4,
    unit="s", steps=STALE, decimals=0, link=("Pipeline health", "/d/rahdar-pipeline"),
)  # fmt: skip
AS_OF = Panel(
    "As of", "When ingest was last heard: as of when the counts beside this are true (PKT).", "stat", ("as-of",), 3, 4,
    unit="time:HH:mm:ss",
)  # fmt: skip
BUDGET = Panel(
    "Alerts in 10 min", "One per operator is what a person bears, ten are a flood (EEMUA 191).", "stat", ("alarm-budget",), 4, 4,
    unit="none", steps=((None, GREY), (2, ORANGE), (10, RED)),
)  # fmt: skip
SEVERITY_COLUMN = Column("Severity", width=120)
LOG_COLUMNS = {
    "_time": Column("When", "dateTimeAsIso", 170), "severity": SEVERITY_COLUMN, "transition": Column("Transition", width=120),
    "subject": Column("Subject", width=90), "text": Column("What, where, since when"), "detail": Column("To whom, how", width=140), "reason": Column("Reason", width=150),
    "actor": Column("By", width=110), "alert": Column("Alert", hidden=True),
}  # fmt: skip


def _open(severity: str, colour: str) -> Panel:
    sign = SEVERITY[severity][1]
    return Panel(
        f"Open, {severity}", f"Alerts that are not closed, as of the last refresh ({sign}).", "stat", (f"open-{severity}",), 3, 4,
        unit="none", steps=((None, GREY), (1, colour)),
    )  # fmt: skip


OVERVIEW = Dashboard(
    "rahdar-overview", "Overview", "Alerts first, then the map: is anything wrong, and may I believe it?", (REGION,),
    (
        _open("critical", RED), _open("high", ORANGE), _open("medium", SKY), _open("low", BLUE),
        replace(BUDGET, width=3), replace(DATA_AGE, width=3), replace(LAG, width=3), AS_OF,
        Panel(
            "Open alerts", "Gravest first, then oldest. Red: later than the plan allows. Follow a sentence to the desk to acknowledge or close it.", "table",
            ("open-alerts",), 13, 14,
            columns={
                "severity": SEVERITY_COLUMN, "opened": Column("Opened", "dateTimeAsIso", 165),
                "waiting_s": Column("Open for", "s", 90), "late_s": Column("Late by", "s", 90, red_above=0.5), "state": Column("State", width=165), "cause": Column("Cause", width=90),
                "what": Column("What, where, since when"), "rule": Column("Rule", hidden=True),
                "subject": Column("Subject", hidden=True), "alert": Column("Alert", hidden=True),
            },
            link=DESK,
        ),
        Panel(
            "Map", "Vehicles of the last ten minutes, and open alerts. The plan itself is the desk's.",
            "geomap", ("map-vehicles", "map-alerts"), 11, 14,
        ),
        Panel("Alerts opened", "In each ten minutes.", "timeseries", ("alarm-rate",), 12, 7, unit="short", draw="bars", stacked=True, legend="${__field.labels.severity}"),
        Panel("Positions a second", "Taken, and marked as not fit for rules.", "timeseries", ("points-rate",), 12, 7, unit="suffix:/s", legend="${__field.labels.outcome}"),
    ),
)  # fmt: skip

REGIONAL = Dashboard(
    "rahdar-region", "Region", "One region: its vehicles, what its rules found, who pressed.", (REGION,),
    (
        Panel("Vehicles heard", "In the last two minutes.", "stat", ("vehicles-live",), 4, 4, unit="none"),
        DATA_AGE, BUDGET,
        Panel("Late positions", "Share that came more than a minute after it was seen: dead ground, or a network that drags.", "timeseries", ("late-share",), 12, 8, unit="percentunit", legend="late"),
        Panel(
            "What the rules found", "Episodes by rule, whether told or only watched (shadow); what goes on counts until now. Retracted ones do not count.", "table", ("by-rule",), 12, 8,
            columns={
                "rule": Column("Rule"), "episodes": Column("Episodes", width=100), "still_open": Column("Go on", width=90),
                "total_s": Column("Total time", "s", 110),
            },
        ),
        Panel(
            "Vehicles", "Longest silent first. Red: not heard for five minutes.", "table", ("vehicles-table",), 12, 12,
            columns={
                "vehicle": Column("Vehicle", width=100), "role": Column("Role", width=110),
                "silent_s": Column("Last heard", "s", 120, red_above=300), "speed_mps": Column("Speed", "velocityms", 110),
                "late_s": Column("Came late by", "s", 120, red_above=60),
            },
        ),
        Panel(
            "Presses", "SOS, duress, delay, safe.", "table", ("presses",), 12, 8,
            columns={
                "_time": Column("When", "dateTimeAsIso", 170), "subject": Column("Who", width=100), "what": Column("What", width=90),
                "late_s": Column("Came late by", "s", 120, red_above=60), "located": Column("With a place", width=110),
            },
        ),
        Panel("What happened to alerts", "Every transition, newest first.", "table", ("alert-log",), 24, 10, columns=LOG_COLUMNS, link=DESK),
    ),
    time_from="now-6h", refresh="10s",
)  # fmt: skip

VEHICLES = Dashboard(
    "rahdar-vehicle", "Vehicle", "Where one vehicle was, how it drove, what was found.", (REGION, VEHICLE),
    (
        Panel("Way", "The vehicle's line, thinned to what the screen can show.", "geomap", ("vehicle-route",), 12, 14, route=True),
        Panel("Speed", "By device.", "timeseries", ("vehicle-speed",), 12, 7, unit="velocityms", legend="${__field.labels.device}"),
        Panel("Road kilometre", "Only on a movement.", "timeseries", ("vehicle-road",), 12, 7, unit="lengthkm", legend="${__field.labels.device}"),
        Panel("Lateness", "Seconds from being seen to being received. The line: one minute.", "timeseries", ("vehicle-late",), 12, 7, unit="s", steps=((None, GREY), (60, RED)), legend="${__field.labels.device}"),
        Panel("Accuracy", "As the device says.", "timeseries", ("vehicle-accuracy",), 12, 7, unit="lengthm", legend="${__field.labels.device}"),
        Panel(
            "Episodes", "What held for this vehicle; shadow is watched and not told.", "table", ("vehicle-episodes",), 12, 9,
            columns={
                "_time": Column("Began", "dateTimeAsIso", 170), "rule": Column("Rule", width=150), "object": Column("Of", width=120),
                "severity": SEVERITY_COLUMN, "mode": Column("Mode", width=70), "state": Column("State", width=80),
                "duration_s": Column("For", "s", 80), "peak": Column("Peak", width=80),
            },
        ),
        Panel(
            "Alerts", "What happened to this vehicle's alerts.", "table", ("vehicle-alerts",), 12, 9,
            columns={k: v for k, v in LOG_COLUMNS.items() if k in ("_time", "severity", "transition", "text", "detail", "actor", "alert")}, link=DESK,
        ),
    ),
    refresh="10s",
)  # fmt: skip

CONVOYS = Dashboard(
    "rahdar-convoy", "Convoy", "Is it together? Along its road, not across the valley.", (REGION, CONVOY),
    (
        Panel("Gaps", "Metres along the road between neighbours. The line named limit is the plan's.", "timeseries", ("convoy-gaps", "convoy-limit"), 24, 10, unit="lengthm", legend="${__field.labels.gap}"),
        Panel("Time and road", "Each line is a member. Lines that part are a convoy that parts; a flat line stands still.", "timeseries", ("convoy-road",), 14, 10, unit="lengthkm", legend="${__field.labels.vehicle}"),
        Panel(
            "Now", "The last gap of each pair, widest first. Red: above the plan's limit.", "table", ("convoy-now",), 10, 10,
            columns={
                "ahead": Column("Ahead", width=90), "behind": Column("Behind", width=90), "gap_m": Column("Gap", "lengthm", 100),
                "of_limit": Column("Of the limit", "percentunit", 110, red_above=1.0), "as_of": Column("As of", "dateTimeAsIso", 170),
            },
        ),
    ),
)  # fmt: skip

SITES = Dashboard(
    "rahdar-site", "Site and sensors", "What a site's sensors say, and which are silent.", (REGION, SITE),
    (
        Panel(
            "Last words", "Of every sensor of the site. Red: older than an hour.", "table", ("site-last",), 12, 10,
            columns={
                "sensor": Column("Sensor"), "kind": Column("Kind", width=100), "what": Column("What", width=130),
                "said": Column("Said", width=110), "age_s": Column("Age", "s", 90, red_above=3600),
            },
        ),
        Panel("States", "What sensors say in words. Orange: open, or detected.", "state-timeline", ("site-states",), 12, 10, legend="${__field.labels.reading}"),
        Panel("Values", "Numbers; the unit is in the name.", "timeseries", ("site-values",), 12, 8, unit="short", legend="${__field.labels.reading}"),
        Panel("Links", "Devices of the region that went and came.", "state-timeline", ("links",), 12, 8, legend="${__field.labels.device}"),
    ),
    time_from="now-6h", refresh="30s",
)  # fmt: skip

RESPONSE = Dashboard(
    "rahdar-response", "Response", "How long people took, and what alerts turned out to be.", (REGION,),
    (
        Panel("Told, nine in ten within", "From opening to a channel's word that the first person was told.", "barchart", ("told-p90",), 6, 7, unit="s", decimals=0),
        Panel("Answered, half within", "From opening to a person's answer.", "barchart", ("acknowledge-median",), 6, 7, unit="s", decimals=0),
        Panel("Answered, nine in ten within", "From opening to a person's answer.", "barchart", ("acknowledge-p90",), 6, 7, unit="s", decimals=0),
        Panel("Answered within the plan's time", "Of alerts that were answered or whose time is up: overdue counts as late.", "stat", ("in-time",), 6, 7, unit="percentunit", steps=((None, RED), (0.9, ORANGE), (0.99, GREY))),
        Panel(
            "From alert to answer", "Each alert: told to the first person, answered by one. Not yet, OVERDUE: as long as it has been. Red: a minute untold, or later than the plan allows. Overdue first.",
            "table", ("answer-log",), 24, 11,
            columns={
                "opened": Column("Opened", "dateTimeAsIso", 165), "severity": SEVERITY_COLUMN, "subject": Column("Subject", width=80),
                "told": Column("Told", width=95), "told_s": Column("Told after", "s", 90, red_above=60), "answer": Column("Answered", width=95),
                "answered_s": Column("Answered after", "s", 120), "late_s": Column("Late by", "s", 80, red_above=0.5), "actor": Column("By", width=90),
                "allowed_s": Column("Allowed", "s", 80),
                "text": Column("What, where, since when"),
            },
        ),
        Panel(
            "What people did", "Newest first. Red: later than the plan allows.", "table", ("response-log",), 14, 11,
            columns={
                "_time": Column("When", "dateTimeAsIso", 165), "severity": SEVERITY_COLUMN, "transition": Column("Did", width=115),
                "subject": Column("Subject", width=80), "actor": Column("By", width=90), "took_s": Column("After", "s", 80),
                "late_s": Column("Late by", "s", 80, red_above=0.5), "allowed_s": Column("Allowed", "s", 80), "text": Column("What, where, since when"),
            },
        ),
        Panel(
            "What it turned out to be", "Closed alerts by rule; many false ones ask for another threshold.", "table", ("outcomes",), 10, 11,
            columns={"rule": Column("Rule")} | {name: Column(name.capitalize(), width=100) for name in ("real", "false", "expected", "test", "by itself")},
        ),
    ),
    time_from="now-7d", refresh="1m",
)  # fmt: skip

COMPLIANCE = Dashboard(
    "rahdar-compliance", "Compliance", "Do movements keep to their orders, and are patrols on the road?", (REGION,),
    (
        Panel("Off orders now", "Movements' and areas' rules that are broken at this moment, watched ones (shadow) too.", "stat", ("off-orders-now",), 4, 5, unit="none", steps=((None, GREY), (1, ORANGE))),
        Panel("Patrols heard", "In the last ten minutes.", "stat", ("patrols-live",), 4, 5, unit="none", steps=((None, RED), (1, GREY))),
        Panel("Off orders began", "In each ten minutes, by rule.", "timeseries", ("off-orders-rate",), 16, 8, unit="short", draw="bars", stacked=True, legend="${__field.labels.rule}"),
        Panel(
            "Off orders", "By who and rule: off the road, stopped where no stop is planned, apart, without escort, where or away from where an area's rule wants it. Began in this time.",
            "table", ("off-orders",), 12, 12,
            columns={
                "subject": Column("Who", width=90), "rule": Column("Rule", width=160), "mode": Column("Mode", width=80),
                "times": Column("Times", width=70), "goes_on": Column("Go on", width=70), "off_s": Column("Together", "s", 100),
                "longest_s": Column("Longest", "s", 100),
            },
        ),
        Panel(
            "Patrols", "The least driven first, by their own speed. Which did not report at all is not here.", "table", ("patrols",), 12, 12,
            columns={
                "vehicle": Column("Patrol", width=90), "heard_s": Column("Heard for", "s", 110), "driven_s": Column("Drove for", "s", 110),
                "driven_km": Column("Drove", "lengthkm", 100), "last": Column("Last heard", "dateTimeAsIso", 170),
            },
        ),
        Panel("Patrols on the road", "In each five minutes: heard, and of those that drove.", "timeseries", ("patrols-moving",), 24, 7, unit="short", legend="${__field.labels.patrols}"),
    ),
    time_from="now-12h", refresh="1m",
)  # fmt: skip

PIPELINE = Dashboard(
    "rahdar-pipeline", "Pipeline health", "Are we well ourselves? Rate, errors, duration; then the machine.", (REGION,),
    (
        replace(DATA_AGE, width=3), replace(LAG, width=3),
        Panel("Notifier heard", "Seconds since the notifier said that it lives. Red above 60 s: nobody is told.", "stat", ("notifier-age",), 3, 4, unit="s", steps=UNTOLD, decimals=0),
        Panel("Telling due", "For how long the oldest telling waits that no notifier takes. Red above 60 s.", "stat", ("told-due",), 3, 4, unit="s", steps=UNTOLD, decimals=0),
        Panel("Set aside", "Points that InfluxDB would not take, since the record started.", "stat", ("set-aside",), 3, 4, unit="none", steps=ANY_RED),
        Panel("Disk left", "Of the disk that the record lives on.", "stat", ("disk",), 3, 4, unit="percent", steps=((None, RED), (10, ORANGE), (20, GREY)), decimals=0),
        Panel("Vehicles heard", "In the last two minutes.", "stat", ("vehicles-live",), 3, 4, unit="none"),
        replace(BUDGET, width=3),
        Panel("Rate", "Positions a second, taken and marked.", "timeseries", ("points-rate",), 8, 8, unit="suffix:/s", legend="${__field.labels.outcome}"),
        Panel("Errors", "Messages a minute that were not taken, by reason.", "timeseries", ("rejects",), 8, 8, unit="short", draw="bars", stacked=True, legend="${__field.labels.reason}"),
        Panel("Duration", "From receiving what decided it to the alert being open.", "timeseries", ("dwell",), 8, 8, unit="s", draw="points", legend="${__field.labels.severity}"),
        Panel("Lag", "The line: 10 s, from where on the wall is red.", "timeseries", ("lag-over-time",), 8, 8, unit="s", steps=STALE, legend="${__field.labels.host}"),
        Panel("Backlog", "Records that wait in the log for the record.", "timeseries", ("backlog",), 8, 8, unit="short", legend="${__field.labels.host}"),
        Panel("Telling", "Tellings on their way: due and not taken up, being sent, taken by a relay that will report.", "timeseries", ("telling",), 8, 8, unit="short", names={"awaited": "report awaited", "sending": "being sent"}, legend="${__field.labels._field}"),
        Panel("Machine", "Percent used.", "timeseries", ("machine",), 8, 8, unit="percent", names={"cpu_pct": "processor", "memory_pct": "memory"}, legend="${__field.labels._field}"),
        Panel(
            "Not taken", "The newest, with the reason. They are kept and can be replayed.", "table", ("reject-log",), 16, 8,
            columns={
                "_time": Column("When", "dateTimeAsIso", 170), "stage": Column("Stage", width=100), "reason": Column("Reason", width=150),
                "login": Column("Login", width=140), "detail": Column("Detail"), "bytes": Column("Bytes", width=80),
            },
        ),
    ),
)  # fmt: skip

BOARDS = (OVERVIEW, REGIONAL, VEHICLES, CONVOYS, SITES, COMPLIANCE, RESPONSE, PIPELINE)
