"""A phone as a tracker: the OwnTracks app set up by one QR code."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

import segno
import yaml

from agents.local import LocalStack

PHONE_LOGIN = "phone"


def plan_with_phone(plan: Path, directory: Path) -> Path:
    """A copy of this one region's plan, under `directory`, that knows one vehicle more: the phone of whoever tries the demo."""
    copy = directory / "plan"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(plan, copy)
    file = copy / "vehicles.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    device = {"id": PHONE_LOGIN, "format": "owntracks"}
    vehicle = {"id": PHONE_LOGIN, "call_sign": "PHONE", "kind": "car", "role": "patrol", "devices": [device]}
    content["vehicles"].append(vehicle)
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return copy


def owntracks_configuration(host: str, port: int, login: str, password: str, *, tls: bool = False) -> dict[str, object]:
    """What the app imports: OwnTracks' `configuration` message for MQTT with QoS 1 and a session that survives bad coverage."""
    return {
        "_type": "configuration",
        "mode": 0,
        "host": host,
        "port": port,
        "tls": tls,
        "auth": True,
        "username": login,
        "password": password,
        "clientId": login,
        "deviceId": login,
        "tid": login[-2:],
        "pubTopicBase": "owntracks/%u/%d",
        "pubQos": 1,
        "pubRetain": False,
        "cleanSession": False,
        "keepalive": 60,
        "mqttProtocolLevel": 4,
        "sub": False,
        "cmd": False,
        "monitoring": 2,
        "locatorInterval": 5,
        "moveModeLocatorInterval": 5,
    }


def configuration_link(configuration: dict[str, object]) -> str:
    """The link that the app opens; behind a QR code it needs no typing."""
    inline = base64.b64encode(json.dumps(configuration, separators=(",", ":")).encode()).decode()
    return "owntracks:///config?inline=" + quote(inline, safe="")


def address_on_the_lan() -> str:
    """This machine's address as its neighbours see it. No packet is sent: a datagram socket only asks the routing table."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def phone_instructions(stack: LocalStack) -> str:
    """Words and a QR code for the terminal. The phone is the vehicle `phone` of the demo's plan."""
    if PHONE_LOGIN not in stack.credentials:
        return '  (this plan has no login named `phone`; see README, "Your own phone")'
    link = configuration_link(
        owntracks_configuration(address_on_the_lan(), stack.mqtt_port, PHONE_LOGIN, stack.credentials[PHONE_LOGIN])
    )
    picture = io.StringIO()
    segno.make(link, error="l").terminal(picture, compact=True)
    return (
        "  Your phone as a tracker: install OwnTracks, scan this with the camera, open it in the app.\n"
        "  The position travels unencrypted on this network: for a demonstration only.\n\n" + picture.getvalue()
    )
