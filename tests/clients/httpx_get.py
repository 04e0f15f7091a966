"""A tool that knows one thing, its API key: Python httpx."""

import os
import sys

import httpx

key = os.environ["ORDERS_API_KEY"]
answer = httpx.get(sys.argv[1], headers={"Authorization": f"Bearer {key}"}, timeout=30)
print(answer.status_code, answer.text)
