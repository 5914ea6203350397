"""Who speaks: the broker knows the login, the plan binds it to devices and these to vehicles and sensors. The payload only has to agree."""

from __future__ import annotations

from msgspec import structs

from pipeline.normalise.formats import by_topic, device_in
from pipeline.normalise.formats.said import Said
from pipeline.normalise.gate import Who
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.model import CompiledPlan, Login


def topic_device(topic: str) -> str | None:
    """The device that a gateway's topic names: v1/<shard>/<login>/<format>/<device>, or where its own program puts it."""
    parts = topic.split("/")
    if parts[0] != "v1":
        return device_in(topic)
    return parts[4] if len(parts) > 4 else None


def device_of_login(plan: CompiledPlan, topic: str) -> str | None:
    """Whose topic it is, v1/<shard>/<login>/<format>, when that is one device's own."""
    parts = topic.split("/")
    login = plan.logins.get(parts[2]) if parts[0] == "v1" and len(parts) >= 4 else None
    return login.own if login is not None and login.kind == "device" else None


def format_of(topic: str) -> str:
    """Which format a topic declares. Raises RefusedError."""
    parts = topic.split("/")
    if parts[0] == "v1" and len(parts) >= 4:
        return parts[3]
    if (own := by_topic(topic)) is not None:
        return own
    raise RefusedError("unsupported", f"topic {topic[:80]!r}")


def who_speaks(plan: CompiledPlan, login_name: str, topic: str, said: Said) -> Who:
    """Raises RefusedError: unknown_device, identity_mismatch, no_position; never for a press of a login that was let in."""
    login = plan.logins.get(login_name)
    if said.kind == "press":
        return _who_pressed(plan, login_name, login, topic, said)
    if login is None:
        raise RefusedError("unknown_device", f"login {login_name!r} is not in the plan")
    device = _device(plan, login, topic, said)
    subject = plan.device_subject.get(device)
    if subject is None:
        raise RefusedError("unknown_device", f"device {device!r} is bound to nothing in the plan")
    if said.subject is not None and said.subject != subject and said.kind not in ("statement", "order"):
        raise RefusedError("identity_mismatch", f"{device!r} is bound to {subject!r} and speaks of {said.subject!r}")
    if said.kind == "fix" and subject not in plan.vehicles:
        raise RefusedError("identity_mismatch", f"{device!r} is bound to the sensor {subject!r}: it has no position")
    if said.kind == "reading" and subject not in plan.sensors:
        if said.known_as or said.aside:  # a tracker's housekeeping: its maker sends all it knows
            raise RefusedError("no_position", f"{said.what} of the vehicle {subject!r}, and no position")
        raise RefusedError("identity_mismatch", f"{device!r} is bound to the vehicle {subject!r}: it has no readings")
    return Who(device, subject, _cell(plan, subject, login))


def called(plan: CompiledPlan, who: Who, said: Said) -> Said:
    """A reading as the plan calls its sensor: a button that is there for help is a press. Its maker only says that it was pressed."""
    sensor = plan.sensors.get(who.subject)
    if said.what != "button" or sensor is None or sensor.kind not in PRESS_KINDS:
        return said
    return structs.replace(said, kind="press", what=PRESS_KINDS[sensor.kind], value="")


PRESS_KINDS = {"sos": "sos", "panic": "sos", "duress": "duress"}


def _device(plan: CompiledPlan, login: Login, topic: str, said: Said) -> str:
    if login.kind == "device":
        device = login.own
        if said.device is not None and said.device != device:
            raise RefusedError("identity_mismatch", f"login {login.login!r} speaks for {said.device!r}")
        for name in said.known_as:  # its maker's number says nothing, unless it is the name of another
            if name != device and name in plan.device_subject:
                raise RefusedError("identity_mismatch", f"login {login.login!r} speaks for {name!r}")
        return device
    named = _named(topic, said)
    for name in named:
        if name in login.devices:
            if (other := topic_device(topic)) in login.devices and other != name:
                raise RefusedError("identity_mismatch", f"the topic of {other!r} speaks for {name!r}")
            return name
    if not named:
        raise RefusedError("unknown_device", f"gateway {login.login!r} names no device")
    raise RefusedError("identity_mismatch", f"gateway {login.login!r} does not speak for {named[0][:40]!r}")


def _named(topic: str, said: Said) -> list[str]:
    """What a gateway's message calls its device: by our id, which then has to hold, else by its maker's names or the topic's."""
    return [said.device] if said.device else [name for name in (*said.known_as, topic_device(topic)) if name]


def _who_pressed(plan: CompiledPlan, login_name: str, login: Login | None, topic: str, said: Said) -> Who:
    if login is None:
        return Who(login_name, login_name)
    if login.kind == "device" and login.devices:
        device = login.devices[0]
    else:  # a gateway that does not say for whom: nobody's vehicle is guessed at
        device = next((name for name in _named(topic, said) if name in login.devices), login.login)
    subject = plan.device_subject.get(device, login_name)
    return Who(device, subject, _cell(plan, subject, login))


def _cell(plan: CompiledPlan, subject: str, login: Login) -> str:
    if (vehicle := plan.vehicles.get(subject)) is not None:
        return vehicle.cell
    if (sensor := plan.sensors.get(subject)) is not None:
        return sensor.cell
    return login.cell
