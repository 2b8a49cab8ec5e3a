"""Imports Keras (or what PRELOAD names) once, then runs each script it is asked for in a forked process of its own.

Reads a JSON line for each: {"script", "environment", "out", "err"}; answers with "started PID", then, when it ended,
with its return code as `subprocess` gives it. Nothing is computed before the fork, so each process is as good as new.
"""

import importlib
import json
import os
import runpy
import sys
import traceback

for module in os.environ.get("PRELOAD", "keras").split():
    importlib.import_module(module)


def child(job):
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    os.setpgid(0, 0)
    os.environ.update(job["environment"])
    sys.argv = [job["script"]]
    code = 0
    try:
        runpy.run_path(job["script"], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        try:
            sys.excepthook(
                *sys.exc_info()
            ) if sys.excepthook is not sys.__excepthook__ else traceback.print_exc()
            code = 1
        except SystemExit as end:
            code = end.code
        del error
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        child(job)
    print("started", pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
