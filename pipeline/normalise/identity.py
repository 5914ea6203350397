"""Who speaks: the broker knows the login, the plan binds it to devices and these to vehicles and sensors. The payload only has to agree."""

from __future__ import annotations

from pipeline.normalise.formats.said import Said
from pipeline.normalise.gate import Who
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.model import CompiledPlan, Login


def topic_device(topic: str) -> str | None:
    """The device that a gateway's topic names behind the format: v1/<shard>/<login>/<format>/<device>."""
    parts = topic.split("/")
    return parts[4] if len(parts) > 4 and parts[0] == "v1" else None


def format_of(topic: str) -> str:
    """Which format a topic declares. Raises RefusedError."""
    parts = topic.split("/")
    if parts[0] == "owntracks" and len(parts) >= 3:
        return "owntracks"
    if parts[0] == "v1" and len(parts) >= 4:
        return parts[3]
    raise RefusedError("unsupported", f"topic {topic[:80]!r}")


def who_speaks(plan: CompiledPlan, login_name: str, topic: str, said: Said) -> Who:
    """Raises RefusedError: unknown_device, identity_mismatch; never for a press of a login that was let in."""
    login = plan.logins.get(login_name)
    if said.kind == "press":
        return _who_pressed(plan, login_name, login, topic, said)
    if login is None:
        raise RefusedError("unknown_device", f"login {login_name!r} is not in the plan")
    device = _device(login, topic, said)
    subject = plan.device_subject.get(device)
    if subject is None:
        raise RefusedError("unknown_device", f"device {device!r} is bound to nothing in the plan")
    if said.subject is not None and said.subject != subject and said.kind not in ("statement", "order"):
        raise RefusedError("identity_mismatch", f"{device!r} is bound to {subject!r} and speaks of {said.subject!r}")
    return Who(device, subject, _cell(plan, subject, login))


def _device(login: Login, topic: str, said: Said) -> str:
    if login.kind == "device":
        device = login.devices[0] if login.devices else login.login
        if said.device is not None and said.device != device:
            raise RefusedError("identity_mismatch", f"login {login.login!r} speaks for {said.device!r}")
        return device
    named = said.device or topic_device(topic)
    if named is None:
        raise RefusedError("unknown_device", f"gateway {login.login!r} names no device")
    if named not in login.devices:
        raise RefusedError("identity_mismatch", f"gateway {login.login!r} does not speak for {named!r}")
    return named


def _who_pressed(plan: CompiledPlan, login_name: str, login: Login | None, topic: str, said: Said) -> Who:
    if login is None:
        return Who(login_name, login_name)
    device = login.devices[0] if login.kind == "device" and login.devices else (said.device or topic_device(topic))
    if device not in login.devices:
        device = login.login  # a gateway that does not say for whom: nobody's vehicle is guessed at
    subject = plan.device_subject.get(device, login_name)
    return Who(device, subject, _cell(plan, subject, login))


def _cell(plan: CompiledPlan, subject: str, login: Login) -> str:
    if (vehicle := plan.vehicles.get(subject)) is not None:
        return vehicle.cell
    if (sensor := plan.sensors.get(subject)) is not None:
        return sensor.cell
    return login.cell
