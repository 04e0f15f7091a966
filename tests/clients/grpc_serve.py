"""A gRPC server of four kinds of call, bytes in and out. Arguments: certificate chain, key."""

import concurrent.futures
import sys

import grpc


def seen(context):
    """Leaves what the client's credential became in the answer's trailers, for the test."""
    fields = [value for name, value in context.invocation_metadata() if name == "authorization"]
    print("authorization", len(fields), fields[0] if fields else "", flush=True)
    context.set_trailing_metadata((("x-served", "yes"),))


def unary(request, context):
    seen(context)
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    return b"re: " + request


def gather(requests, context):
    seen(context)
    return b"+".join(requests)


def spread(request, context):
    seen(context)
    for n in range(100):
        yield request + b" %d" % n


def talk(requests, context):
    seen(context)
    for request in requests:
        yield b"re: " + request


class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/test.Peer/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Peer/Gather": grpc.stream_unary_rpc_method_handler(gather),
            "/test.Peer/Spread": grpc.unary_stream_rpc_method_handler(spread),
            "/test.Peer/Talk": grpc.stream_stream_rpc_method_handler(talk),
        }.get(call.method)


chain, key = (open(name, "rb").read() for name in sys.argv[1:3])
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Handler(),))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
server.start()
print("port", port, flush=True)
sys.stdin.read()
