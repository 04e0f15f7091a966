"""A tool that knows one thing, its API key: one unary call of Python's grpcio."""

import os
import sys

import grpc

key = os.environ["ORDERS_API_KEY"]
with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials()) as channel:
    call = channel.unary_unary("/matrix.Orders/List")
    print(call(b"", timeout=20, metadata=[("authorization", f"Bearer {key}")]).decode())
