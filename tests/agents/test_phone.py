"""A phone becomes a tracker by one QR code, and a vehicle of a copy of the plan."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from agents.phone import configuration_link, owntracks_configuration, plan_with_phone
from pipeline.plan.load import load_plan


def test_the_link_carries_the_whole_configuration() -> None:
    """What the app reads from the QR code is the configuration, byte for byte JSON, its password included."""
    configuration = owntracks_configuration("192.0.2.7", 1883, "phone", "a+b/c=")
    link = urlsplit(configuration_link(configuration))
    assert (link.scheme, link.path) == ("owntracks", "/config")
    inline = parse_qs(link.query)["inline"][0]
    assert json.loads(base64.b64decode(inline)) == configuration
    assert configuration["pubQos"] == 1 and configuration["cleanSession"] is False


def test_the_copy_of_the_plan_knows_the_phone(root: Path, tmp_path: Path) -> None:
    """The plan itself is not touched; its copy has one vehicle and one login more."""
    original = root / "plans" / "hazara"
    before = load_plan(original)
    copy = load_plan(plan_with_phone(original, tmp_path))
    assert copy.vehicles.keys() - before.vehicles.keys() == {"phone"}
    assert copy.logins["phone"].devices == ("phone",)
    assert load_plan(original).hash == before.hash
