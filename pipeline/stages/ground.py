"""The Ground stage: keyframes and expressions to answers and prompt vectors."""

import numpy as np

from pipeline.engine.model_files import model_on_this_node
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import PoolSpec, Row, Stage
from pipeline.manifest.checks import expression_problem
from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.device import resolve_dtype
from pipeline.model.ground import ground_video
from pipeline.model.grounder import Grounder, Grounding
from pipeline.model.spread import load_spread
from pipeline.schema import VideoTask
from pipeline.stages.rows import GROUNDED_SCHEMA, TASK_SCHEMA, GroundedVideo, grounded_row, task_of
from pipeline.video.isolated import IsolatedDecoder


class Ground(Stage):
    """One grounding worker: a language model on its device, and a decoder that may be killed."""

    name = "ground"
    input_schema = TASK_SCHEMA
    output_schema = GROUNDED_SCHEMA
    pool = PoolSpec(worker="grounder", gpu_share=1, shares_gpus=True)

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        config = settings.config
        self.procedure = config.resolved_procedure()
        files, model = open_checkpoint(model_on_this_node(settings.model))
        settings.use_threads(model.grounding.image_size)
        device = settings.device(self.name)
        dtype, prompt_text = resolve_dtype(config.dtype, device), config.prompt_template
        if (config.gpus_per_grounder or 0) > 1:
            self.grounder = load_spread(files, model, dtype=dtype, prompt_text=prompt_text)
        else:
            self.grounder = Grounder.from_checkpoint(
                files, model, device_of=lambda _: device, dtype=dtype, prompt_text=prompt_text
            )
        self.grounder.max_objects = config.max_objects_per_expression
        self.decoder = IsolatedDecoder(timeout_s=config.decode_timeout_s)

    def process(self, row: Row) -> Row:
        """See :class:`Stage`: answers and prompt vectors of every expression of a video."""
        return grounded_row(self._ground(task_of(row)))

    @classmethod
    def failed(cls, row: Row, message: str) -> Row:
        """See :class:`Stage`."""
        return grounded_row(GroundedVideo(task=task_of(row), error=message))

    def close(self) -> None:
        """End the decoder's process."""
        if hasattr(self, "decoder"):
            self.decoder.close()

    def _ground(self, task: VideoTask) -> GroundedVideo:
        problems = [expression_problem(expression.text) for expression in task.expressions]
        errors = [f"ExpressionError: {problem}" if problem else None for problem in problems]
        texts = [e.text for e, problem in zip(task.expressions, problems, strict=True) if problem is None]
        groundings: list[Grounding] = []
        # the video is opened even if no expression is left, so that a broken one is reported as such
        with self.decoder.open(task.video, self.settings.selection(task.frames), self.settings.limits()) as source:
            if texts:
                count = self.settings.config.num_keyframes
                question = self.settings.config.presence_question or None
                groundings = ground_video(
                    self.grounder, source, texts, self.procedure, count, presence_question=question
                )
        grounded = iter(groundings)
        answered = [None if problem else next(grounded) for problem in problems]
        errors = [g.error if g else error for g, error in zip(answered, errors, strict=True)]
        width = self.grounder.config.grounding.d_model
        keep = 1 if self.settings.config.objects == "first" else None
        return GroundedVideo(
            task=task,
            expression_errors=errors,
            answers=[g.answer if g else None for g in answered],
            notes=[g.note if g else None for g in answered],
            prompts=[g.prompts[:keep] if g else np.zeros((0, width), np.float32) for g in answered],
            seg_probabilities=[g.seg_probabilities[:keep] if g else [] for g in answered],
            yes_probabilities=[g.yes_probability if g else None for g in answered],
        )
