"""What the steps may cost at published sizes; lower them when something is made cheaper."""

from tests.fake_cuda.counting import Report

MOST_KERNELS = {
    "resize_4": 80,
    "encode_4": 650,
    "add_keyframe_e1": 520,
    "track_e1": 600,
    "track_e4": 600,
    "track_e16": 600,
    "track_e16_halved": 1900,
    "tower_1b": 360,
    "tower_4b": 360,
    "tower_8b": 360,
    "tower_26b": 2010,
    "patches_qwen2_5-vl-7b": 180,
    "patches_qwen3-vl-4b": 180,
    "prefill_1b": 1090,
    "prefill_4b": 1620,
    "prefill_8b": 1450,
    "prefill_26b": 2150,
    "prefill_26b_spread": 2220,
    "prefill_qwen2_5-vl-7b": 1270,
    "prefill_qwen3-vl-4b": 2220,
    "verify_1b": 1140,
    "verify_4b": 1670,
    "verify_8b": 1490,
    "verify_26b": 2200,
    "verify_26b_spread": 2300,
    "verify_qwen2_5-vl-7b": 1320,
    "verify_qwen3-vl-4b": 2280,
    "question_1b": 1110,
    "question_4b": 1640,
    "question_8b": 1465,
    "question_26b": 2170,
    "question_26b_spread": 2270,
    "question_qwen2_5-vl-7b": 1290,
    "question_qwen3-vl-4b": 2235,
}
"""Per step, in bfloat16."""
MOST_WEIGHT_CASTS = 0


def exceeded(report: Report) -> list[str]:
    """One line for each limit that is exceeded or whose step was not measured."""
    lines = []
    for name, most in MOST_KERNELS.items():
        if name in report.steps and report.steps[name].kernels > most:
            lines.append(f"{name}: {report.steps[name].kernels} kernels, at most {most} are allowed")
    for name, cost in report.steps.items():
        if cost.weight_casts > MOST_WEIGHT_CASTS:
            lines.append(f"{name}: {cost.weight_casts} weights are cast in every run")
    return lines
