"""What the presence question costs, counted and measured."""

from pipeline.demo import copy_clips
from pipeline.model.sa2va import Sa2VA
from pipeline.video.source import open_video
from pipeline.workshop.presence_cost import EXPRESSIONS, Tokens, count_tokens, measure


def test_tokens_are_those_that_the_grounder_reads_and_the_question_takes_time(untrained, tmp_path):
    copy_clips(tmp_path)
    grounder = Sa2VA.from_checkpoint(untrained).grounder
    with open_video(str(tmp_path / "stars.mp4")) as source:
        tokens = count_tokens(untrained, source, 3)
        pictures = grounder.config.family.read_pictures(source, [0, 1, 2], grounder.config)
        (grounding,) = grounder.ground(pictures, EXPRESSIONS[:1])
        assert grounding.prompt_ids.count(grounder.replies.prompts.tokenizer.image_id) == tokens.images
        without, asked = measure(grounder, source, 4, 3, repeats=3)
    assert 0 < without < asked


def test_the_share_of_the_question_grows_with_the_expressions():
    tokens = Tokens(images=1000, request=20, reply=30, question=50)
    assert tokens.share(1) == 50 / 1100
    assert tokens.share(20) == 1000 / (1000 + 20 * 100)
