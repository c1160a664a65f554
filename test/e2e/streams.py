# SPDX-License-Identifier: Apache-2.0
"""Clients of belay.v1's Attach and ExecStream, with stdin by grants."""
import json

import protos
import ttrpc
from bundle import process as process_object
from shim import SPEC_TYPE

STDOUT, STDERR = protos.belay.STREAM_STDOUT, protos.belay.STREAM_STDERR


class Session:
    """One stream of either method: what came so far, and what may be sent."""

    method = None
    request = None

    def __init__(self, shim, start, client=None, later=False, at_once=False):
        """later: begin() sends the first request. at_once: it is in the frame that opens the stream."""
        service = shim.service(protos.BELAY, client)
        if at_once:
            output = protos.message_class(service.descriptor.methods_by_name[self.method].output_type)
            first = self.request(start=start).SerializeToString()
            self.stream = service.client.open_stream(service.descriptor.full_name, self.method, output, first, more=True)
        else:
            self.stream = getattr(service.stream, self.method)()
        self.granted = 0
        self.started = None
        self.exit = None
        self.out = {STDOUT: bytearray(), STDERR: bytearray()}
        self.start = start
        if not later and not at_once:
            self.begin()

    def begin(self):
        self.send(start=self.start)

    def send(self, **fields):
        self.stream.send(self.request(**fields))

    def step(self, timeout=None):
        """Takes one response; False at the end of the stream."""
        response = self.stream.receive(timeout)
        if response is None:
            return False
        assert self.exit is None, "a response after the exit"
        kind = response.WhichOneof("response")
        assert (kind == "started") == (self.started is None) or kind == "exit", kind
        if kind == "started":
            self.started = response.started
        elif kind == "output":
            assert response.output.data and response.output.time.seconds > 0
            self.out[response.output.stream] += response.output.data
        elif kind == "stdin_granted":
            self.granted += response.stdin_granted
        else:
            self.exit = response.exit
        return True

    def until(self, condition):
        while not condition():
            assert self.step(), (self.out, self.exit)
        return self

    def until_output(self, text, stream=STDOUT):
        return self.until(lambda: text in self.out[stream])

    def until_started(self):
        return self.until(lambda: self.started)

    def finish(self):
        while self.step():
            pass
        return self

    def write(self, data):
        """All of it, as it is granted."""
        while data:
            self.until(lambda: self.granted)
            n = min(self.granted, 32 << 10)
            self.send(stdin=data[:n])
            self.granted -= min(n, len(data))
            data = data[n:]

    def close_stdin(self):
        self.send(close_stdin=True)

    def resize(self, width, height):
        self.send(resize=protos.belay.Resize(width=width, height=height))

    def detach(self):
        self.stream.half_close()
        return self.finish()


class Attach(Session):
    method = "Attach"
    request = protos.belay.AttachRequest

    def __init__(self, process, client=None, later=False, **fields):
        c = process.container if process.exec_id else process
        start = protos.belay.AttachStart(id=c.id, exec_id=process.exec_id, **fields)
        super().__init__(c.shim, start, client, later)


class ExecStream(Session):
    method = "ExecStream"
    request = protos.belay.ExecStreamRequest

    def __init__(self, container, *args, client=None, changes=None, later=False, at_once=False, **fields):
        spec = process_object(args, **(changes or {}))
        spec["env"] = [*spec.get("env", []), container.lab.token_variable]
        if fields.get("terminal"):
            spec["terminal"] = True
        start = protos.belay.ExecStart(id=container.id, spec=protos.wrap(json.dumps(spec).encode(), SPEC_TYPE),
                                       **fields)
        super().__init__(container.shim, start, client, later, at_once)

    def signal(self, signo):
        self.send(signal=signo)


def connect(shim):
    """A connection of its own."""
    return ttrpc.Client(shim.address)
