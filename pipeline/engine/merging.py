"""Merging parts of the dataset in tasks on the cluster, so that the driver reads no masks."""

import logging
from collections.abc import Sequence

import ray

from pipeline.dataset.merge import Merged, PartMerger
from pipeline.dataset.merging import Merge
from pipeline.engine.pools import WRITE_CPUS
from pipeline.errors import PipelineError, StorageError

log = logging.getLogger(__name__)


@ray.remote(num_cpus=WRITE_CPUS)
def _merge(merger: PartMerger, part: int, video_files: Sequence[str]) -> Merged | PipelineError:
    try:
        return merger.merge(part, video_files)
    except PipelineError as error:
        return error  # as an exception it would come back wrapped in one of Ray's


def merge_on_cluster(merger: PartMerger) -> Merge:
    """``merger.merge``, run as a task; on this machine where the cluster is gone."""

    def merge(part: int, video_files: Sequence[str]) -> Merged:
        try:
            merged = ray.get(_merge.remote(merger, part, video_files))
        except ray.exceptions.RayError as error:
            if ray.is_initialized():
                raise StorageError(f"part {part} of {merger.url} could not be merged: {error}") from error
            return merger.merge(part, video_files)
        if isinstance(merged, PipelineError):
            raise merged
        return merged

    return merge
