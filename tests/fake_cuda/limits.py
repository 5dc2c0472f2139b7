"""What the steps may cost at published sizes; lower them when something is made cheaper."""

from tests.fake_cuda.steps import Report

MOST_KERNELS = {
    "resize_4": 80,
    "encode_4": 650,
    "add_keyframe_e1": 520,
    "track_e1": 600,
    "track_e4": 600,
    "track_e16": 600,
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
