"""The writer of tensorboard 2.21, with its signature; FILES stands for the disk."""

from tensorboard.compat.proto.event_pb2 import Event

FILES = {}  # by folder: [[event, ...] of a file, ...]


class EventFileWriter:
    def __init__(self, logdir, max_queue_size=10, flush_secs=120, filename_suffix=""):
        self.flushed, self.waiting, self.closed = [], [], False
        FILES.setdefault(logdir, []).append(self.flushed)

    def add_event(self, event):
        assert isinstance(event, Event)
        assert not self.closed
        self.waiting.append(event)

    def flush(self):
        self.flushed += self.waiting
        self.waiting = []

    def close(self):
        self.flush()
        self.closed = True
        self.flushed.append("closed")
