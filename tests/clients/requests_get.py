"""A tool that knows one thing, its API key: Python requests."""

import os
import sys

import requests

key = os.environ["ORDERS_API_KEY"]
answer = requests.get(sys.argv[1], headers={"Authorization": f"Bearer {key}"}, timeout=30)
print(answer.status_code, answer.text)
