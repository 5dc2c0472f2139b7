"""SAM 2: image encoder, mask decoders, memory and propagation, built from the modules of the package ``sam2``."""

from importlib.util import find_spec

from pipeline.errors import MissingPackageError

if find_spec("sam2") is None:
    # not among the dependencies: it declares torchvision, which must not stand beside a CPU build of torch, and whose
    # build would download another torch
    raise MissingPackageError(
        "the package sam2 is not installed; run: pip install -U setuptools wheel && "
        "SAM2_BUILD_CUDA=0 pip install --no-deps --no-build-isolation sam2==1.1.0"
    )
