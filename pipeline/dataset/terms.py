"""Licences of a dataset's videos and where these are from, counted over its rows."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.dataset.files import mask_files, read_columns_of_all


@dataclass(frozen=True)
class Terms:
    """Rows by licence, and by source of their video; rows that say nothing are not counted."""

    licenses: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)


def terms_of(url: str) -> Terms:
    """What the rows of the dataset at ``url`` say."""
    terms = Terms()
    for _, table in read_columns_of_all(mask_files(url), ["license", "video_source"]):
        if table is not None:
            terms.licenses.update(value for value in table["license"].to_pylist() if value is not None)
            terms.sources.update(value for value in table["video_source"].to_pylist() if value is not None)
    return terms
