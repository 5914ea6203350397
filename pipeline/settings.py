"""Where things are: environment variables, read once, here. What is watched is the plan's business."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.kafka_url import FORM, is_kafka, kafka_place


def first_line(file: Path) -> str:
    """A password that is kept in a file. Raises OSError, and ValueError when there is none."""
    lines = file.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0]:
        raise ValueError(f"{file}: the password should be its first line")
    return lines[0]


class Settings(BaseSettings):
    """`RAHDAR_*`. Secrets are files, named by `…_FILE`."""

    model_config = SettingsConfigDict(env_prefix="RAHDAR_", extra="ignore", frozen=True)

    log_url: str = "log://var/log"
    mqtt_url: str = "embedded://127.0.0.1:1883"
    record_url: str = "sqlite:///var/record.sqlite"
    alert_url: str = "sqlite:///var/alert.sqlite"
    plan: Path = Path("plans/hazara")
    partitions: Annotated[int, Field(ge=1, le=1024)] = 32
    tick_s: Annotated[float, Field(gt=0)] = 5.0
    horizon_s: Annotated[float, Field(gt=0)] = 6 * 3600
    desk_url: str = "http://127.0.0.1:8080"
    desk_public_url: str | None = None
    """What people's browsers call the desk, when TLS or another name is put in front of it; cookies and links follow it."""
    var: Path = Path("var")
    """Where this machine keeps what is its own: spool, certificates, checkpoints' cold history."""
    mqtt_passwords_file: Path | None = None
    """Lines `login:argon2-hash`; who may connect with a password."""
    mqtt_tls_cert_file: Path | None = None
    mqtt_tls_key_file: Path | None = None
    mqtt_tls_ca_file: Path | None = None
    operators_file: Path | None = None
    """YAML: name, role, argon2 hash. Who may log in to the desk."""
    addresses_key_file: Path | None = None
    """Opens the sealed lines of the addresses file. Without: `addresses.key` under `var`, made by `rahdar address`."""
    addresses_file: Path | None = None
    """Lines `name: address`, readable by us alone: where the roster's people are reached (docs/alerts.md)."""
    link_secret_file: Path | None = None
    """Signs the links and codes in messages; desk and notify need the same one. Without: made once under `var`."""
    notify_name: str = ""
    """Of this notify process: what it had under lease when it died it takes back at once. Without: host and `var`."""
    notify_password_file: Path | None = None
    """First line: the broker's password of the login `rahdar-notify`, for the downlink; or a certificate:"""
    notify_cert_file: Path | None = None
    notify_key_file: Path | None = None
    downlink_key_file: Path | None = None
    """Ed25519, PEM: signs the downlink. Without: made once under `var`."""
    mqtt_register: Path | None = None
    """The folder of `rahdar device`, when devices are in shards: whose downlink is where."""
    gsm_device: str = ""
    """A modem's serial line, as /dev/ttyUSB2."""
    tak_url: str = ""
    """`tcp://HOST:PORT` or `tls://HOST:PORT` of a TAK server."""
    tak_ca_file: Path | None = None
    tak_cert_file: Path | None = None
    tak_key_file: Path | None = None
    """Without: it is in the certificate's file."""
    tak_key_password_file: Path | None = None
    """First line: of an encrypted key."""
    tak_server_name: str | None = None
    """The name in the server's certificate, when RAHDAR_TAK_URL has an address or another name."""
    basemap_url: str | None = None
    """Optional PMTiles or XYZ source on this host for the map's background."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    speed: Annotated[float, Field(gt=0)] = 1.0
    """Scales the clock of ingest and alert stage; for demonstrations."""
    clock_anchor_us: int | None = None
    """The wall time at which the scaled clock began, the same for all processes; microseconds since 1970."""
    influx_token_file: Path | None = None
    """The writer's token, when RAHDAR_RECORD_URL is `influx://HOST:PORT/ORG`; `rahdar influx setup` makes it."""
    grafana_url: str = "http://127.0.0.1:3000"
    grafana_token_file: Path | None = None
    """A service account's token, for `rahdar grafana check`."""

    @property
    def plan_trees(self) -> Path:
        """Where what large files of plans say is kept."""
        return self.var / "plan-trees"

    def environment(self) -> dict[str, str]:
        """The variables that give these settings."""
        return {f"RAHDAR_{name.upper()}": str(value) for name, value in self.model_dump(exclude_none=True).items()}

    @field_validator("log_level", mode="before")
    @classmethod
    def _loud(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("log_url")
    @classmethod
    def _known_log(cls, value: str) -> str:
        if is_kafka(value):
            kafka_place(value)  # ValueError says what it should be
        elif not value.startswith("log://"):
            raise ValueError(f"RAHDAR_LOG_URL is {value!r}; give log://DIRECTORY, {FORM}")
        return value

    @field_validator("mqtt_url")
    @classmethod
    def _known_mqtt(cls, value: str) -> str:
        if not value.startswith(("embedded://", "mqtt://", "mqtts://")):
            raise ValueError(f"RAHDAR_MQTT_URL is {value!r}; give embedded://HOST:PORT or mqtts://HOST:PORT")
        return value
