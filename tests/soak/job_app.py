"""`python -m tests.soak.job_app ROOT CHILD`: an app reduced to its launcher, to be killed at any moment.

Its jobs are those of the module CHILD. It reads one JSON object a line, `{"do": "launch", "spec": {…}}`, or `resume`,
`cancel` and `delete` with a `run`, answers with one, and looks after the jobs meanwhile.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.jobs import launcher_of
from train_jobs.runs.specs import JobSpec


def main() -> int:
    """Until standard input ends."""
    launcher = launcher_of(Path(sys.argv[1]), child=sys.argv[2])
    launcher.start(0.03)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        match asked["do"]:
            case "launch":
                answer = {"run": launcher.launch(JobSpec.from_json(asked["spec"]))}
            case "resume":
                answer = {"state": launcher.resume(asked["run"]).state}
            case "cancel":
                answer = {"state": launcher.cancel(asked["run"]).state}
            case _:
                launcher.delete(asked["run"])
                answer = {}
        print(json.dumps(answer), flush=True)
    launcher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
