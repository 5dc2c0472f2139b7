"""What a run would do, found out without starting anything."""

from pipeline.config import RunConfig
from pipeline.dataset.state import DatasetState
from pipeline.engine.workload import SAMPLE, measure
from pipeline.manifest import plan_of
from pipeline.run import checked_model, masks_identity
from pipeline.stages.propagate import count_given
from pipeline.storage import absolute, scrub


def plan(config: RunConfig, *, seconds_per_frame: float | None = None, price_per_gpu_hour: float | None = None) -> str:
    """What :func:`pipeline.run.annotate` would do, found out without starting anything or writing to the output.

    Args:
        config: The run.
        seconds_per_frame: Of worker time for one frame of video, to estimate GPU-hours by.
        price_per_gpu_hour: To price these, in USD.
    """
    with plan_of(config.as_dict()) as todo:
        model, directory = checked_model(config)
        given_masks = masks_identity(config)
        DatasetState(config.output).compare(todo, retry_failed=config.retry_failed)
        total, left = todo.total, todo.size()
        work = measure(todo.sample(SAMPLE), config, videos=left.videos)
    lines = [
        f"{total.videos} videos with {total.expressions} expressions in {config.manifest or config.video}",
        (
            f"to do: {left.videos} videos with {left.expressions} expressions; "
            f"done before: {total.expressions - left.expressions} expressions"
        ),
        str(work),
        f"model: {model}, in {directory}",
    ]
    if config.masks is not None:
        given, rows = count_given(absolute(config.masks), config)
        version = given_masks["masks_version"]
        lines.append(f"masks: {scrub(config.masks)}, version {version}: {given} of {rows} rows have given ones")
    if seconds_per_frame is not None:
        hours = work.frames * seconds_per_frame / 3600
        lines.append(
            f"estimate: {hours:.2f} GPU-hours at {seconds_per_frame:.3g} s a frame, a whole GPU for each worker"
        )
        if price_per_gpu_hour is not None and work.masks:
            price = hours * price_per_gpu_hour
            lines.append(
                f"price: {price:.2f} USD at {price_per_gpu_hour:g} USD a GPU-hour; {1000 * price / work.masks:.4g} USD "
                "per 1,000 frames and expression"
            )
    return "\n".join(lines)
