"""A tool that knows one thing, its API key: Python aiohttp, told to read the environment."""

import asyncio
import os
import sys

import aiohttp


async def main():
    headers = {"Authorization": f"Bearer {os.environ['ORDERS_API_KEY']}"}
    async with aiohttp.ClientSession(trust_env=True, headers=headers) as session:
        async with session.get(sys.argv[1]) as answer:
            print(answer.status, await answer.text())


asyncio.run(main())
