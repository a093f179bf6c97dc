"""What minissl uses of wandb 0.31, with its signatures; RUNS stands for the server."""

RUNS = {}  # by id: {"init": what init was given, "rows": [(step, numbers)], "exits": [code]}


def init(project=None, *, id=None, name=None, config=None, resume=None):
    assert resume == "allow"
    assert not set("/\\#?%:") & set(project + name + id)
    kept = RUNS.setdefault(id, {"rows": [], "exits": []})
    kept["init"] = {"project": project, "name": name, "id": id, "config": config}
    return Run(kept)


class Run:
    def __init__(self, kept):
        self.kept = kept
        self.step = kept["rows"][-1][0] + 1 if kept["rows"] else 0  # where it goes on

    def log(self, data, step=None, commit=None):
        assert step >= self.step, f"wandb would drop step {step}, it is at {self.step}"
        assert commit, "wandb would keep it back until the next step"
        self.kept["rows"].append((step, data))
        self.step = step + 1

    def finish(self, exit_code=None):
        self.kept["exits"].append(exit_code)
