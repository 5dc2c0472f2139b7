#!/usr/bin/env python3
"""Compare results with the golden data of the newer families: ../compare.py with this folder's cases and tolerances.

    python compare.py RESULTS_DIR [--set cases|cases_sa2va|cases_image] [--case NAME ...] [--allow-missing]
"""
import importlib.util, os

HERE = os.path.dirname(os.path.abspath(__file__))
OLD = os.environ.get("GOLDEN_DIR", os.path.join(HERE, ".."))
spec = importlib.util.spec_from_file_location("golden_compare", os.path.join(OLD, "compare.py"))
old = importlib.util.module_from_spec(spec)
spec.loader.exec_module(old)
old.HERE = HERE

if __name__ == "__main__":
    old.main()
