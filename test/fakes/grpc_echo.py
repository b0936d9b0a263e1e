"""A gRPC service, and a client that tries every kind of call: `grpc_echo.py serve`, `grpc_echo.py call PORT`."""

import sys
import threading
from concurrent import futures

import grpc

LARGE = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def unary(message, context):
    own = tuple((k, v) for k, v in context.invocation_metadata() if k.startswith("x-"))
    context.send_initial_metadata(own)
    context.set_trailing_metadata(own)
    for key, value in own:
        if key == "x-fail":
            context.abort(tuple(grpc.StatusCode)[int(value)], "as asked")
    return message


def collect(messages, context):
    sizes = [len(message) for message in messages]
    return b"%d %d" % (len(sizes), sum(sizes))


def repeat(message, context):
    for index in range(int(message)):
        yield b"%d" % index


def chat(messages, context):
    yield from messages


def serve():
    cancelled = threading.Event()

    def wait(message, context):
        done = threading.Event()
        context.add_callback(done.set)
        done.wait(30)
        cancelled.set()
        return message

    def was_cancelled(message, context):
        return b"yes" if cancelled.wait(10) else b"no"

    server = grpc.server(futures.ThreadPoolExecutor(16), options=LARGE)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


def call(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=LARGE) as channel:
        unary_call = channel.unary_unary("/test.Echo/Unary")
        answer, done = unary_call.with_call(b"hello", metadata=(("x-text", "a value"), ("x-data-bin", b"\x00\xff")), timeout=20)
        head, trailers = dict(done.initial_metadata()), dict(done.trailing_metadata())
        assert answer == b"hello"
        assert head["x-text"] == trailers["x-text"] == "a value" and head["x-data-bin"] == b"\x00\xff", (head, trailers)
        print("principal", head["x-postern-principal"])

        for code, expected in enumerate(grpc.StatusCode):
            if code == 0:
                continue
            try:
                unary_call(b"x", metadata=(("x-fail", str(code)),), timeout=20)
                raise AssertionError("it did not fail")
            except grpc.RpcError as error:
                assert error.code() == expected, (error.code(), expected)

        collected = channel.stream_unary("/test.Echo/Collect")(iter([b"x" * 1000] * 500), timeout=20)
        assert collected == b"500 500000", collected
        repeated = list(channel.unary_stream("/test.Echo/Repeat")(b"1000", timeout=20))
        assert repeated == [b"%d" % index for index in range(1000)]
        chatted = list(channel.stream_stream("/test.Echo/Chat")(iter([b"%d" % index for index in range(200)]), timeout=20))
        assert chatted == [b"%d" % index for index in range(200)]

        large = bytes(range(256)) * (10 << 12)
        assert unary_call(large, timeout=60) == large

        try:
            channel.unary_unary("/test.Echo/Wait")(b"x", timeout=0.3)
            raise AssertionError("it was answered")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error.code()
        assert channel.unary_unary("/test.Echo/WasCancelled")(b"", timeout=20) == b"yes"

        pending = [unary_call.future(b"%d" % index, timeout=30) for index in range(300)]
        assert [one.result() for one in pending] == [b"%d" % index for index in range(300)]
    print("all is well")


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2])
