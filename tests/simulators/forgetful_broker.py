"""Just enough of an MQTT 3.1.1 broker to take messages, and to die with some of them unacknowledged."""

from __future__ import annotations

import asyncio


class ForgetfulBroker:
    """Speaks just enough MQTT 3.1.1 to take messages, and to die with some of them unacknowledged."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, bool]] = []  # payload, and whether it said that it is a repetition
        self.logins: list[str] = []
        self.acknowledge = True
        self.unacknowledged = asyncio.Event()
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def die(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                kind = (await reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = await reader.readexactly(size)
                if kind >> 4 == 1:
                    named = int.from_bytes(body[10:12], "big")
                    self.logins.append(body[12 : 12 + named].decode())
                    writer.write(b"\x20\x02\x00\x00")
                elif kind >> 4 == 3:
                    topic = int.from_bytes(body[:2], "big")
                    self.received.append((body[4 + topic :], bool(kind & 8)))
                    if self.acknowledge:
                        writer.write(b"\x40\x02" + body[2 + topic : 4 + topic])
                    else:
                        self.unacknowledged.set()
                elif kind >> 4 == 14:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()
