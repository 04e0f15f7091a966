"""Talks to websocket_serve.py. Argument: its URL. The proxy and the CA come from the environment."""

import asyncio
import sys

from websockets.asyncio.client import connect


async def main():
    async with connect(sys.argv[1], subprotocols=["superchat", "chat"]) as connection:
        sent = 0
        for n in range(98):
            message = f"message {n} " * (n + 1)
            await connection.send(message)
            assert await connection.recv() == message
            sent += 1
        for message in (b"\x00\xff" * 100_000, "GET / HTTP/1.1\r\n\r\n"):
            await connection.send(message)
            assert await connection.recv() == message
            sent += 1
        await (await connection.ping())
        extensions = [extension.name for extension in connection.protocol.extensions]
        print(connection.subprotocol, *extensions, sent)


asyncio.run(main())
