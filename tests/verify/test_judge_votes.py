"""What counts as yes, and how sure."""

import datetime as dt
import math
from email.utils import format_datetime

import pytest

from pipeline.verify.judge import _retry_after_s
from pipeline.verify.votes import UnusableReplyError, Vote, verdict_of, vote_of


def reply(content, logprobs=None, finish_reason="stop"):
    choice = {"message": {"content": content}, "finish_reason": finish_reason}
    return {"choices": [choice | ({"logprobs": {"content": logprobs}} if logprobs is not None else {})]}


def token(text, chance, **others):
    listed = [{"token": text, "logprob": math.log(chance)}]
    listed += [{"token": name, "logprob": math.log(value)} for name, value in others.items()]
    return {**listed[0], "top_logprobs": listed}


@pytest.mark.parametrize(
    ("content", "vote"),
    [
        ("Yes", 1),
        ("no.", 0),
        ("**Yes**, it is.", 1),
        ("The answer is no: yes would be wrong", 0),
        ("<think>No, or yes?</think> Yes", 1),
        ([{"type": "text", "text": "No"}], 0),
    ],
)
def test_the_first_yes_or_no_of_the_text_counts(content, vote):
    assert vote_of(reply(content), "m").vote == vote
    assert not vote_of(reply(content), "m").from_logprobs


@pytest.mark.parametrize(
    ("content", "logprobs", "vote"),
    [
        ("Yes", [token("Yes", 0.6, No=0.2)], 0.75),
        ("No", [token("No", 0.6, Yes=0.2)], 0.25),
        ("No", [token("▁no", 0.5, NO=0.25, YES=0.25)], 0.25),
        ("**No", [token("**", 0.9, No=0.05), token("No", 0.8, Yes=0.2)], 0.2),
        ("<think>no</think>Yes", [token("no", 1), token("</think>", 1), token("Yes", 0.9, no=0.1)], 0.9),
        ("Yes", [{"token": "Yes", "logprob": math.log(0.7)}], 0.7),
        ("No", [{"token": "No", "logprob": math.log(0.7)}], 0.3),
    ],
)
def test_log_probabilities_of_the_deciding_token_count_where_they_are(content, logprobs, vote):
    found = vote_of(reply(content, logprobs), "m")
    assert found.vote == pytest.approx(vote)
    assert found.from_logprobs


@pytest.mark.parametrize(
    "logprobs",
    [[], ["x"], [{"token": "Yes"}], [{"token": "Yes", "logprob": None}], [token("Y", 1), token("es", 1)], {"a": 1}],
)
def test_unusable_log_probabilities_leave_the_text(logprobs):
    found = vote_of(reply("Yes", logprobs), "m")
    assert (found.vote, found.from_logprobs) == (1.0, False)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (reply("maybe"), "neither yes nor no: 'maybe'"),
        (reply("Not sure, I know nothing"), "neither yes nor no"),
        (reply("<think>yes yes", finish_reason="length"), "cut off at --max-tokens"),
        ({"choices": []}, "no chat completion"),
        ([], "no chat completion"),
        (None, "no chat completion"),
        (reply(None), "no text"),
    ],
)
def test_what_is_no_answer_says_what_it_is(payload, says):
    with pytest.raises(UnusableReplyError, match=says):
        vote_of(payload, "m")


def test_judges_agree_by_the_median_or_the_lowest_vote():
    votes = [Vote(model="m", vote=vote, from_logprobs=True, answer="") for vote in (0.9, 0.1, 0.6, 0.2)]
    assert verdict_of(votes[:3], "majority") == 0.6
    assert verdict_of(votes, "majority") == pytest.approx(0.4)
    assert verdict_of(votes, "unanimity") == 0.1
    assert verdict_of(votes[:1], "majority") == 0.9


def test_a_server_may_say_when_to_ask_again():
    assert _retry_after_s("7") == 7
    assert _retry_after_s("100000") == 300
    assert _retry_after_s("") == _retry_after_s("soon") == _retry_after_s("nan") == _retry_after_s("-1") == 0
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    assert 50 < _retry_after_s(format_datetime(later, usegmt=True)) <= 60
