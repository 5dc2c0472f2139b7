"""From a location (file, folder, archive, URL) to exact RGB frames.

``source.open_video`` reads in this process; ``isolated.IsolatedDecoder`` reads the same frames in a child process that
may hang or crash without hurting its owner. ``keyframes`` and ``resize`` are the reference's sampling and resampling.
"""
