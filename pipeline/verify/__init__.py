"""A second opinion: another vision-language model looks at keyframes of a finished dataset and says yes or no."""

from pipeline.verify.settings import VerifySettings

__all__ = ["VerifySettings"]
