"""A tool that knows one thing, its API key: Python urllib, which sends CONNECT as HTTP/1.0."""

import os
import sys
import urllib.error
import urllib.request

key = os.environ["ORDERS_API_KEY"]
request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {key}"})
try:
    answer = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.status, answer.read().decode())
