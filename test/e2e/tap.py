# SPDX-License-Identifier: Apache-2.0
"""Between the shims and a real containerd: what shims send, and what containerd has accepted of it."""
import pathlib

import events
import host
import protos
import ttrpc

SERVICE = "containerd.services.events.ttrpc.v1.Events"


class Tap(events.Containerd):
    """Passes each event on and its answer back. When containerd is away the shim's connection breaks, as it would
    without us. `received` are the events that were accepted; `n_sent` counts all, also those that come again."""

    def __init__(self, path, containerd, namespace):
        self.containerd = str(containerd)
        self.namespace = namespace
        self.client = None
        self.n_sent = 0
        super().__init__(path)

    def shim(self, directory, shim):
        """A program that is called like the shim, and sends its events here."""
        directory = pathlib.Path(directory)
        directory.mkdir()
        wrapper = directory / shim.name
        wrapper.write_text(f"#!/bin/sh\nTTRPC_ADDRESS={self.path} exec {shim} \"$@\"\n")
        wrapper.chmod(0o755)
        return wrapper

    def _forward(self, payload):
        event = events.Event(protos.forward.ForwardRequest.FromString(payload).envelope)
        self.n_sent += 1
        try:
            self.client = self.client or ttrpc.Client(self.containerd)
            self.client.start_raw(SERVICE, "Forward", payload, timeout=host.PATIENCE, metadata=[
                ("containerd-namespace-ttrpc", self.namespace)]).result(host.PATIENCE * host.SLOWNESS)
        except (ttrpc.Closed, OSError) as error:
            if self.client:
                self.client.close()
                self.client = None
            raise ttrpc.Closed(str(error)) from error
        with self.changed:
            self.received.append(event)
            self.changed.notify_all()
        return b""
