"""The small model this repository carries: its dimensions, tokenizer, training and held-out results.

    NanoTraining(directory, Plan()).run()    # from drawn shapes to directory/checkpoint
    ShapesBenchmark(tree).score(Sa2VA.from_checkpoint(checkpoint), "sa2va-i")

:mod:`encoder`, :mod:`vision` and :mod:`language` are stage 0, :mod:`tracking` stage 1 (SAM 2 alone, on short and then
on long stretches of video), :mod:`decoding` and :mod:`prompting` stage 2; :mod:`plan` says how long each is.
"""
