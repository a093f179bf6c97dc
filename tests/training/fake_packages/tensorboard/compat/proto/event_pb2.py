"""The message of tensorboard that goes into a file: it takes these fields and no others."""

VALUE = {"tag", "simple_value", "metadata", "tensor"}


class SessionLog:
    START = 1


class Event:
    def __init__(self, wall_time=0.0, step=0, session_log=None, summary=None):
        assert isinstance(step, int)
        assert session_log is None or session_log.keys() == {"status"}
        for value in (summary or {"value": []})["value"]:
            assert value.keys() <= VALUE
            assert isinstance(value.get("simple_value", 0.0), int | float)
        self.step, self.session_log, self.summary = step, session_log, summary
