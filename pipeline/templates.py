"""One command with several prompt templates: a run for each, into a dataset of its own.

Light to import, since it checks options: what reaches a storage is imported where it is needed.
"""

from collections.abc import Sequence
from dataclasses import fields

from pipeline.config import RunConfig, RunSettings
from pipeline.errors import UsageError


def configs_of_templates(settings: RunSettings, templates: Sequence[str]) -> list[RunConfig]:
    """The runs of a command, one for each template.

    Args:
        settings: What the runs have in common.
        templates: One, whose dataset is ``settings.output`` itself; or several, each with a folder in it.

    Raises:
        UsageError: A template does not hold ``{expression}`` exactly once, one is given twice, none is given, or there
            are several although no language model is asked.
    """
    common = {field.name: getattr(settings, field.name) for field in fields(RunSettings)}
    if len(templates) == 1:
        return [RunConfig(prompt_template=templates[0], **common)]
    if not templates:
        raise UsageError("prompt_template is an empty list; leave it out or name a template")
    if settings.masks is not None:
        raise UsageError("masks and several prompt templates exclude each other: no language model is asked")
    twice = next((text for number, text in enumerate(templates) if text in templates[:number]), None)
    if twice is not None:
        raise UsageError(f"prompt_template {twice!r} is given twice; the same answers would be computed again")
    from pipeline.dataset.layout import TEMPLATE_FOLDER
    from pipeline.storage import join

    folders = [join(settings.output, TEMPLATE_FOLDER.format(number=number)) for number in range(1, len(templates) + 1)]
    return [
        RunConfig(prompt_template=text, **{**common, "output": folder})
        for text, folder in zip(templates, folders, strict=True)
    ]


def check_output_of_templates(output: str) -> None:
    """Refuse to put datasets of several templates into the dataset of one.

    The reverse is refused when the dataset of one is begun.

    Raises:
        UsageError: ``output`` is of the other kind.
        StorageError: It cannot be looked at.
    """
    from pipeline.dataset.layout import RUN_FILE
    from pipeline.storage import exists, join, scrub

    if exists(join(output, RUN_FILE)):
        raise UsageError(f"{scrub(output)}: is a dataset of one prompt template; name a new --output for several")
