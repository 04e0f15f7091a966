"""A WebSocket server that says everything back. Arguments: certificate chain, key."""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve


async def talk(connection):
    values = connection.request.headers.get_all("authorization")
    print("authorization", len(values), *values, flush=True)
    async for message in connection:
        await connection.send(message)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    protocols = ["superchat", "chat"]
    async with serve(talk, "127.0.0.1", 0, ssl=context, subprotocols=protocols) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
