# SPDX-License-Identifier: Apache-2.0
"""A small ttrpc client and server: one thread for each connection. The client also streams.

Client.call() sends and waits; Client.start() sends and returns a future, so many calls can be under
way on one connection. Service.stream.Method() opens a stream.
"""
import concurrent.futures
import os
import queue
import socket
import struct
import threading

import host
from protos import envelope, message_class

HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE, DATA = 1, 2, 3
REMOTE_CLOSED, REMOTE_OPEN, NO_DATA = 1, 2, 4
MESSAGE_MAX = 4 << 20

OK, CANCELED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS = range(7)
GONE = (INVALID_ARGUMENT, "StreamID is no longer active")  # in the words of Go's server
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 9, 12, 13, 14


class Error(Exception):
    """The status of a call that failed."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Closed(Exception):
    """The connection went away."""


def read_exactly(sock, size):
    data = bytearray()
    while len(data) < size:
        try:
            part = sock.recv(size - len(data))
        except OSError as error:
            raise Closed(str(error)) from error
        if not part:
            raise Closed("ttrpc: closed")
        data += part
    return bytes(data)


def read_frame(sock):
    """(stream, type, flags, payload)"""
    length, stream, kind, flags = HEADER.unpack(read_exactly(sock, HEADER.size))
    assert length <= MESSAGE_MAX, f"a frame of {length} bytes"
    return stream, kind, flags, read_exactly(sock, length)


def frame(stream, kind, payload, flags=0):
    return HEADER.pack(len(payload), stream, kind, flags) + payload


def connect(address):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(address.removeprefix("unix://"))
    except OSError:
        sock.close()
        raise
    return sock


class Stream:
    """A call that streams. Messages come with receive() or by iterating, which ends where the peer ends the stream
    and raises Error where it fails. While client.reading is cleared nothing is read off the socket."""

    def __init__(self, client, ident, output, timeout):
        self.client = client
        self.id = ident
        self.output = output
        self.timeout = timeout
        self.queue = queue.Queue()
        self.ended = False

    def send(self, message):
        self.client.send_frame(frame(self.id, DATA, message.SerializeToString()))

    def half_close(self):
        self.client.send_frame(frame(self.id, DATA, b"", REMOTE_CLOSED | NO_DATA))

    def receive(self, timeout=None):
        """The next message; None at the end of the stream."""
        if self.ended:
            return None
        what = self.queue.get(timeout=timeout or self.timeout)
        if isinstance(what, bytes):
            return self.output.FromString(what)
        self.ended = True
        if what is not None:
            raise what
        return None

    def __iter__(self):
        return iter(self.receive, None)

    def take(self, kind, flags, payload):
        """From the reader's thread: a frame of this stream. True when it was the last one."""
        if kind == DATA:
            if not flags & NO_DATA:
                self.queue.put(payload)
            if flags & REMOTE_CLOSED:
                self.queue.put(None)
            return bool(flags & REMOTE_CLOSED)
        response = envelope.Response.FromString(payload)
        if response.payload:
            self.queue.put(response.payload)
        self.queue.put(Error(response.status.code, response.status.message) if response.status.code else None)
        return True


class Client:
    def __init__(self, address):
        self.sock = connect(address)
        self.lock = threading.Lock()
        self.next_stream = 1
        self.pending = {}
        self.streams = {}
        self.ended = set()  # streams that the server has ended
        self.reading = threading.Event()  # cleared: nothing is read off the socket
        self.reading.set()
        self.closed = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def start_raw(self, service, method, payload, timeout=None, metadata=()):
        """Sends a request; the future's result is the bytes of the answer."""
        request = envelope.Request(service=service, method=method, payload=payload,
                                   timeout_nano=int((timeout or 0) * 1e9))
        for key, value in metadata:
            request.metadata.add(key=key, value=value)
        future = concurrent.futures.Future()
        with self.lock:
            if self.closed:
                raise Closed("ttrpc: closed")
            self.pending[self.next_stream] = future
            data = frame(self.next_stream, REQUEST, request.SerializeToString())
            self.next_stream += 2
            try:
                self.sock.sendall(data)
            except OSError as error:
                raise Closed(str(error)) from error
        return future

    def send_frame(self, data):
        with self.lock:
            if self.closed:
                raise Closed("ttrpc: closed")
            try:
                self.sock.sendall(data)
            except OSError as error:
                raise Closed(str(error)) from error

    def open_stream(self, service, method, output, payload=None, timeout=30, more=False):
        """payload: the only request, or with more the first; None: a stream of them follows."""
        request = envelope.Request(service=service, method=method, payload=payload or b"")
        flags = REMOTE_OPEN if payload is None or more else REMOTE_CLOSED
        with self.lock:
            if self.closed:
                raise Closed("ttrpc: closed")
            stream = Stream(self, self.next_stream, output, timeout)
            self.streams[stream.id] = stream
            self.next_stream += 2
            self.sock.sendall(frame(stream.id, REQUEST, request.SerializeToString(), flags))
        return stream

    def _read(self):
        why = Closed("ttrpc: closed")
        try:
            while True:
                self.reading.wait()
                stream, kind, flags, payload = read_frame(self.sock)
                if stream in self.streams:
                    if self.streams[stream].take(kind, flags, payload):
                        del self.streams[stream]
                        self.ended.add(stream)
                    continue
                assert kind == RESPONSE, f"frame type {kind}"
                response = envelope.Response.FromString(payload)
                if stream in self.ended and (response.status.code, response.status.message) == GONE:
                    continue  # what was sent on it crossed its end
                with self.lock:
                    future = self.pending.pop(stream)
                if response.status.code:
                    assert not response.payload, "a failure with a payload"
                    future.set_exception(Error(response.status.code, response.status.message))
                else:
                    future.set_result(response.payload)
        except Exception as error:  # whatever it was, nobody may wait for ever
            why = error
        with self.lock:
            self.closed = True
            pending, self.pending = self.pending, {}
            streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.queue.put(why)
        for future in pending.values():
            future.set_exception(why)

    def close(self):
        self.reading.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.reader.join()
        self.sock.close()


class Service:
    """One service of a connection: service.Method(field=value, ...) calls and waits for the answer.

    service.start.Method(...) returns a future instead, service.stream.Method(...) a Stream: with a request if fields
    are given, else for a stream of requests. `defaults` fills fields that a request has
    and the caller left out (the id, usually).
    """

    def __init__(self, client, descriptor, timeout=30, **defaults):
        self.client = client
        self.descriptor = descriptor
        self.timeout = timeout * host.SLOWNESS
        self.defaults = defaults
        self.metadata = ()
        self.start = _Starter(self)
        self.stream = _Streamer(self)

    def with_metadata(self, pairs):
        """The same, with (key, value) pairs in every call."""
        service = Service(self.client, self.descriptor, self.timeout / host.SLOWNESS, **self.defaults)
        service.metadata = tuple(pairs)
        return service

    def _send(self, method_name, fields, timeout=None):
        method = self.descriptor.methods_by_name[method_name]
        known = method.input_type.fields_by_name
        fields = {**{k: v for k, v in self.defaults.items() if k in known}, **fields}
        request = message_class(method.input_type)(**fields)
        raw = self.client.start_raw(self.descriptor.full_name, method_name,
                                    request.SerializeToString(), timeout, self.metadata)
        future = concurrent.futures.Future()

        def convert(done):
            if done.exception():
                future.set_exception(done.exception())
            else:
                future.set_result(message_class(method.output_type).FromString(done.result()))

        raw.add_done_callback(convert)
        return future

    def __getattr__(self, method_name):
        def call(**fields):
            return self._send(method_name, fields).result(self.timeout)

        if method_name not in self.descriptor.methods_by_name:
            raise AttributeError(method_name)
        return call


class _Starter:
    def __init__(self, service):
        self.service = service

    def __getattr__(self, method_name):
        def start(timeout_nano=None, **fields):
            budget = timeout_nano / 1e9 if timeout_nano else None
            return self.service._send(method_name, fields, budget)
        return start


class _Streamer:
    def __init__(self, service):
        self.service = service

    def __getattr__(self, method_name):
        def stream(**fields):
            s = self.service
            method = s.descriptor.methods_by_name[method_name]
            known = method.input_type.fields_by_name
            request = None
            if fields:
                fields = {**{k: v for k, v in s.defaults.items() if k in known}, **fields}
                request = message_class(method.input_type)(**fields).SerializeToString()
            return s.client.open_stream(s.descriptor.full_name, method_name, message_class(method.output_type),
                                        request, s.timeout)
        return stream


class Server:
    """Serves handlers {(service, method): fn(payload bytes) -> answer bytes} on a unix socket.

    A handler may raise Error. Frames are answered in order, one connection in each thread.
    """

    def __init__(self, path, handlers):
        self.path = path
        self.handlers = handlers
        self.connections = set()
        self.answering = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.listener.bind(path)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            while True:
                stream, kind, _, payload = read_frame(sock)
                if kind != REQUEST:
                    continue
                with self.answering:
                    self._answer(sock, stream, envelope.Request.FromString(payload))
        except (Closed, OSError):
            pass
        finally:
            self.connections.discard(sock)
            sock.close()

    def _answer(self, sock, stream, request):
        response = envelope.Response()
        try:
            handler = self.handlers[request.service, request.method]
            response.payload = handler(request.payload)
        except KeyError:
            response.status.code = UNIMPLEMENTED
            response.status.message = f"method {request.service}/{request.method}"
        except Error as error:
            response.status.code, response.status.message = error.code, error.message
        sock.sendall(frame(stream, RESPONSE, response.SerializeToString()))

    def close(self):
        """Drops everything, but no call that has been handled and not answered yet (its peer would send it
        again); the path is free to be bound again."""
        with self.answering:
            self.drop()

    def drop(self):
        """Drops everything, and what is being answered, too."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for sock in list(self.connections):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        os.unlink(self.path)
