"""Calls the server of grpc_serve.py in every way. Argument: its host and port. The proxy and the CA come
from the environment, as grpcio reads them."""

import queue
import sys

import grpc

channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials())
key = (("authorization", "Bearer my-own-key"),)

call = channel.unary_unary("/test.Peer/Unary")
answer, state = call.with_call(b"hello", metadata=key, timeout=60)
assert answer == b"re: hello", answer
assert ("x-served", "yes") in [tuple(pair) for pair in state.trailing_metadata()]
try:
    call(b"fail", metadata=key, timeout=60)
    raise SystemExit("it did not fail")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "as asked", error
large = b"x" * 3_000_000
assert call(large, metadata=key, timeout=60) == b"re: " + large
print("unary")

answer = channel.stream_unary("/test.Peer/Gather")(iter([b"a", b"b", b"c"]), metadata=key, timeout=60)
assert answer == b"a+b+c", answer
print("client streaming")

answers = list(channel.unary_stream("/test.Peer/Spread")(b"n", metadata=key, timeout=60))
assert answers == [b"n %d" % n for n in range(100)], answers
print("server streaming")

# Each is asked only when the one before is answered.
asked = queue.Queue()
answers = channel.stream_stream("/test.Peer/Talk")(iter(asked.get, None), metadata=key, timeout=60)
for n in range(100):
    asked.put(b"%d" % n)
    answer = next(answers)
    assert answer == b"re: %d" % n, answer
asked.put(None)
assert list(answers) == []
print("bidirectional streaming")
