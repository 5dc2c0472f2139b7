#!/usr/bin/env python3
"""Compare results with the long cases: ../compare.py with this folder's cases and tolerances, and what entered attention.

    python compare.py RESULTS_DIR [--golden DIR] [--set cases|cases_sa2va] [--case NAME ...] [--allow-missing]

RESULTS_DIR/<case>/attended.json, if there, is compared with the golden one (form: README.md; order does not matter, only the
frames that are in both).  GOLDEN_DIR overrides where .. is looked for.
"""
import importlib.util, json, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
OLD = os.environ.get("GOLDEN_DIR", os.path.join(HERE, ".."))
spec = importlib.util.spec_from_file_location("golden_compare", os.path.join(OLD, "compare.py"))
old = importlib.util.module_from_spec(spec)
spec.loader.exec_module(old)
old.HERE = HERE


def rows(frame, what):
    """memories: (frame, kind, temporal); pointers: (frame, kind)"""
    return sorted(tuple(row) for row in frame[what])


def attended(table, golden_root, results, folder, only):
    root = os.path.join(golden_root, folder)
    for name in only or sorted(os.listdir(root)):
        ours = os.path.join(results, name, "attended.json")
        theirs = os.path.join(root, name, "attended.json")
        if not (os.path.isfile(ours) and os.path.isfile(theirs)):
            continue
        a, g = json.load(open(ours))["frames"], json.load(open(theirs))["frames"]
        both = sorted(set(a) & set(g), key=int)
        for what in ("memories", "pointers"):
            wrong = [t for t in both if rows(a[t], what) != rows(g[t], what)]
            note = f"{len(both)} frames"
            if wrong:
                t = wrong[0]
                x, y = set(rows(a[t], what)), set(rows(g[t], what))
                note += f", {len(wrong)} differ; first {t}: missing {sorted(y - x)[:4]}, too many {sorted(x - y)[:4]}"
            table.add(name, f"attended {what}", bool(both) and not wrong, note=note)


class Table(old.Table):
    def show(self):
        a = sys.argv
        value = lambda flag, default: a[a.index(flag) + 1] if flag in a else default
        only = []
        if "--case" in a:
            for x in a[a.index("--case") + 1:]:
                if x.startswith("--"):
                    break
                only.append(x)
        attended(self, value("--golden", HERE), RESULTS, value("--set", "cases"), only)
        super().show()


RESULTS = next((x for x in sys.argv[1:] if os.path.isdir(x)), ".")
old.Table = Table

if __name__ == "__main__":
    old.main()
