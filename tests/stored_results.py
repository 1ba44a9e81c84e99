"""Changes to the stored results of a run folder, shared by the tests of untrusted runs."""

import json

COMMANDS = ("predict", "evaluate", "explain", "export", "demo", "report")


def edit(run, change):
    path = run / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))


def everything_written(*folders):
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def put(dotted, value):
    *path, last = dotted.split(".")

    def change(results):
        place = results
        for name in path:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        place[int(last) if isinstance(place, list) else last] = value

    return change
