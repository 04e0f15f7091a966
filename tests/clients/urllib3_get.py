"""Python's bare urllib3: it reads no variable at all."""

import os
import sys

import urllib3

key = os.environ["ORDERS_API_KEY"]
pool = urllib3.PoolManager(retries=False)
if sys.argv[1] == "--proxy-from-environment":
    proxy = urllib3.util.parse_url(os.environ["HTTPS_PROXY"])
    pool = urllib3.ProxyManager(
        proxy.url,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=proxy.auth),
        ca_certs=os.environ["SSL_CERT_FILE"],
    )
answer = pool.request("GET", sys.argv[-1], headers={"Authorization": f"Bearer {key}"})
print(answer.status, answer.data.decode())
