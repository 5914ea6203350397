"""What an InfluxDB needs before it is written to: organisation, buckets with their retention, downsampling, two tokens. Twice is once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from influxdb_client import (
    Authorization,
    BucketRetentionRules,
    InfluxDBClient,
    OnboardingRequest,
    Permission,
    PermissionResource,
    TaskCreateRequest,
    TaskUpdateRequest,
)
from influxdb_client.rest import ApiException

from pipeline.record.influx import AwayError, Place
from pipeline.record.schema import MEASUREMENTS, SYSTEM_BUCKET, bucket_of, buckets

WRITER, READER = "rahdar record", "rahdar grafana"
SOON, LATER = ("1m", "-15m"), ("1h", "-26h")
"""How often, and how far back: the first keeps up, the second takes in what a vehicle sent a day late. Means are overwritten."""


class SetupError(ValueError):
    """What is wrong, and what to do."""


def downsampling(region: str, name: str, every: str, back: str) -> str:
    """The task's Flux: one-minute means of everything that has `mean_fields`."""
    raw, means = bucket_of(region, "raw"), bucket_of(region, "1m")
    parts = []
    for m in MEASUREMENTS:
        if not m.mean_fields:
            continue
        wanted = " or ".join(f'r._field == "{field}"' for field in m.mean_fields)
        parts.append(
            f"""from(bucket: "{raw}")
  |> range(start: date.truncate(t: {back}, unit: 1m), stop: date.truncate(t: now(), unit: 1m))
  |> filter(fn: (r) => r._measurement == "{m.name}")
  |> filter(fn: (r) => {wanted})
  |> aggregateWindow(every: 1m, fn: mean, createEmpty: false, timeSrc: "_start")
  |> to(bucket: "{means}")
"""
        )
    return f'import "date"\n\noption task = {{name: "{name}", every: {every}, offset: 5s}}\n\n' + "\n".join(parts)


def onboard(place: Place, user: str, password: str, bucket: str = SYSTEM_BUCKET) -> str:
    """Make a new server's first user and organisation. Returns the token of that user, who may do anything. Raises SetupError."""
    with InfluxDBClient(url=place.url, token="", org=place.org, timeout=15_000) as client:  # there is none yet
        from influxdb_client import SetupService

        service = SetupService(client.api_client)
        try:
            if not service.get_setup().allowed:
                raise SetupError(
                    f"{place.url} is set up already: give its administrator's token with --admin-token-file"
                )
            answer = service.post_setup(
                OnboardingRequest(
                    username=user, password=password, org=place.org, bucket=bucket, retention_period_seconds=0
                )
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise AwayError(f"{place.url}: {error}") from error
    return str(answer.auth.token)


@dataclass(frozen=True, slots=True)
class Tokens:
    writer: Path
    reader: Path


def write_secret(path: Path, secret: str) -> None:
    """Only we may read it, from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    new.replace(path)


class Setup:
    """With an administrator's token. `say` is told each thing that was made or changed."""

    def __init__(self, place: Place, admin_token: str, say: Callable[[str], None]) -> None:
        self._place = place
        self._say = say
        self._client = InfluxDBClient(url=place.url, token=admin_token, org=place.org, timeout=15_000)

    def run(self, regions: tuple[str, ...], tokens: Tokens) -> None:
        """Raises SetupError, AwayError."""
        try:
            org = self._org()
            ids = {name: self._bucket(org, name, seconds) for name, seconds in buckets(regions).items()}
            for region in regions:
                self._task(org, region, "one-minute means", *SOON)
                self._task(org, region, "one-minute means, late data", *LATER)
            written = {name: i for name, i in ids.items() if not name.endswith("_1m")}
            events = {name: i for name, i in ids.items() if name.endswith("_events")}
            self._token(org, WRITER, tokens.writer, [*_may("write", written, org), *_may("read", events, org)])
            self._token(org, READER, tokens.reader, _may("read", ids, org))
        except ApiException as error:
            if error.status in (401, 403):
                raise SetupError(f"{self._place.url} refuses the administrator's token") from error
            raise SetupError(f"{self._place.url}: {error.status} {error.reason}: {error.body!r}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise AwayError(f"{self._place.url}: {error}") from error
        finally:
            self._client.close()

    def _org(self) -> str:
        api = self._client.organizations_api()
        try:
            found = [o for o in api.find_organizations(org=self._place.org) if o.name == self._place.org]
        except ApiException as error:
            if error.status != 404:
                raise
            found = []
        if found:
            return str(found[0].id)
        self._say(f"organisation {self._place.org}")
        return str(api.create_organization(name=self._place.org).id)

    def _bucket(self, org: str, name: str, seconds: int) -> str:
        api = self._client.buckets_api()
        rules = [BucketRetentionRules(type="expire", every_seconds=seconds)]
        found = api.find_bucket_by_name(name)
        if found is None:
            self._say(f"bucket {name}, kept for {seconds // 86_400} days")
            return str(api.create_bucket(bucket_name=name, retention_rules=rules, org=org).id)
        now = found.retention_rules[0].every_seconds if found.retention_rules else 0
        if now != seconds:
            self._say(f"bucket {name}: kept for {seconds // 86_400} days (it was {now // 86_400 or 'for ever'})")
            found.retention_rules = rules
            api.update_bucket(bucket=found)
        return str(found.id)

    def _task(self, org: str, region: str, what: str, every: str, back: str) -> None:
        api = self._client.tasks_api()
        name = f"rahdar {region}: {what}"
        flux = downsampling(region, name, every, back)
        found = api.find_tasks(name=name)
        if not found:
            self._say(f"task {name!r}")
            api.create_task(task_create_request=TaskCreateRequest(org_id=org, flux=flux, status="active"))
        elif found[0].flux.strip() != flux.strip():
            self._say(f"task {name!r}: changed")
            api.update_task_request(found[0].id, TaskUpdateRequest(flux=flux))

    def _token(self, org: str, description: str, path: Path, permissions: list[Any]) -> None:
        api = self._client.authorizations_api()
        mine = [a for a in api.find_authorizations() if a.description == description]
        kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        wanted = {_key(p) for p in permissions}
        for one in mine:
            if one.token == kept and {_key(p) for p in one.permissions} == wanted:
                os.chmod(path, 0o600)  # noqa: PTH101  # the mode is the point
                return
        made = api.create_authorization(
            authorization=Authorization(org_id=org, description=description, permissions=permissions)
        )
        write_secret(path, str(made.token))
        for one in mine:
            api.delete_authorization(one)
        self._say(f"token {description!r} in {path}" + (" (the older one no longer counts)" if mine else ""))


def _may(action: str, ids: dict[str, str], org: str) -> list[Any]:
    return [
        Permission(action=action, resource=PermissionResource(type="buckets", id=i, org_id=org)) for i in ids.values()
    ]


def _key(permission: Any) -> tuple[str, str, str]:
    return (permission.action, permission.resource.type, permission.resource.id)
