# SPDX-License-Identifier: Apache-2.0
"""containerd as the shim sees it: a socket that takes events. It records them in order of arrival."""
import threading

import host
import protos
import ttrpc

MESSAGES = {
    "/tasks/create": protos.events.TaskCreate,
    "/tasks/start": protos.events.TaskStart,
    "/tasks/exit": protos.events.TaskExit,
    "/tasks/delete": protos.events.TaskDelete,
    "/tasks/exec-added": protos.events.TaskExecAdded,
    "/tasks/exec-started": protos.events.TaskExecStarted,
    "/tasks/oom": protos.events.TaskOOM,
    "/tasks/paused": protos.events.TaskPaused,
    "/tasks/resumed": protos.events.TaskResumed,
}


class Event:
    def __init__(self, envelope):
        self.envelope = envelope
        self.topic = envelope.topic
        self.type_url = envelope.event.type_url
        self.message = MESSAGES[envelope.topic].FromString(envelope.event.value)

    def __getattr__(self, name):
        return getattr(self.message, name)

    def process(self):
        """The exec's id, or "" for init."""
        if self.topic.startswith("/tasks/exec-"):
            return self.message.exec_id
        if self.topic == "/tasks/exit" and self.message.id != self.message.container_id:
            return self.message.id
        return ""

    def short(self):
        return f"{self.topic.removeprefix('/tasks/')}{'/' if self.process() else ''}{self.process()}"

    def __repr__(self):
        return f"<{self.short()}>"


class Containerd:
    """The socket that TTRPC_ADDRESS names. stop() and start() make it go away and come back."""

    def __init__(self, path):
        self.path = str(path)
        self.received = []
        self.changed = threading.Condition()
        self.answer = None  # an Error to be raised instead of taking the event
        self.answering = threading.Event()  # cleared: what was received is not answered
        self.answering.set()
        self.server = None
        self.start()

    def start(self):
        service = "containerd.services.events.ttrpc.v1.Events"
        self.server = ttrpc.Server(self.path, {(service, "Forward"): self._forward})

    def stop(self):
        self.answering.set()
        if self.server:
            self.server.close()
            self.server = None

    def _forward(self, payload):
        if self.answer:
            raise self.answer
        event = Event(protos.forward.ForwardRequest.FromString(payload).envelope)
        with self.changed:
            self.received.append(event)
            self.changed.notify_all()
        self.answering.wait()
        return b""

    def of(self, container_id, topic=None):
        return [e for e in self.received
                if e.container_id == container_id and topic in (None, e.topic)]

    def wait(self, container_id, topic, count=1, timeout=host.PATIENCE):
        """The events of that topic, as soon as there are `count` of them."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.of(container_id, topic)) >= count,
                                         timeout * host.SLOWNESS):
                raise AssertionError(
                    f"{count} of {topic} for {container_id} did not come: {self.of(container_id)}")
        return self.of(container_id, topic)

    def order(self, container_id):
        """For example ["create", "start", "exit", "delete"]."""
        return [e.short() for e in self.of(container_id)]
