"""The benchmark's report for people."""

from collections.abc import Mapping
from typing import Any

from pipeline.workshop.bench.clock import STAGES


def as_table(report: Mapping[str, Any]) -> str:
    """Plain text: conditions, one line per number of expressions, then the stages of each."""
    conditions = report["conditions"]
    compared = max(r["compared_expressions"] for r in report["results"])
    lines = [
        f"{conditions['model']}, {conditions['device']}, {conditions['dtype']}, {conditions['threads']} threads",
        f"{conditions['frames']} frames ({conditions['video']}), {conditions['keyframes']} keyframes",
        f"published arrangement: {conditions['published_arrangement']}; masks compared of {compared} expressions",
        f"large matrix product: {conditions['large_product_flops_per_s'] / 1e9:.0f} GFLOP/s"
        + (" per second of processor time" if conditions["device"] == "cpu" else ""),
        f"timed: {conditions['timed']}; warm-up: {conditions['warm_up']}; load {conditions['load_average'][0]:.1f}",
        "",
        "  E  published       ours  ratio  (of CPU time)  frames x E / s   mean IoU   worst IoU  peak pub.    ours",
    ]
    for r in report["results"]:
        lines.append(
            f"{r['expressions']:>3} {r['published_s']:>9.2f}s {r['ours_s']:>9.2f}s {r['ratio']:>5.2f}x "
            f"{r['cpu_ratio']:>12.2f}x {r['ours_frames_x_expressions_per_s']:>15.2f} "
            f"{r['mean_iou']:>10.4f} {r['worst_iou']:>11.4f} "
            f"{r['published_peak_bytes'] / 2**30:>8.2f}G {r['ours_peak_bytes'] / 2**30:>6.2f}G"
        )
        for v in r["variants"]:
            warm = f" after {v['warm_up_s']:.1f}s of warm-up" if v["warm_up_s"] else ""
            lines.append(
                f"    with {v['name']}: {v['ours_s']:.2f}s{warm}, IoU with ours {v['mean_iou']:.4f} (mean), "
                f"{v['worst_iou']:.4f} (worst)"
            )
    for r in report["results"]:
        lines += [
            "",
            f"E = {r['expressions']}, {r['distinct_tracks']} tracks: seconds (share of large product)",
        ]
        lines += [
            f"  {stage:<20} {_cell(r['stages'][stage], 'published')} {_cell(r['stages'][stage], 'ours')}"
            for stage in STAGES
            if stage in r["stages"]
        ]
    return "\n".join(lines)


def _cell(stage: Mapping[str, Any], who: str) -> str:
    seconds = stage.get(f"{who}_s")
    if seconds is None:
        return f"{who} {'-':>16}"
    share = stage.get(f"{who}_share_of_large_product")
    return f"{who} {seconds:>9.2f} {'(' + format(share, '.0%') + ')' if share else '':>6}"
