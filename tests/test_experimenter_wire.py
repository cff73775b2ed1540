"""Between the socket and the ledger anything may come: it is read, or recorded and told in one sentence."""

import json
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from asking import PROPOSE, QUESTIONS, RETRIEVE, Calls, asked
from hypothesis import given
from hypothesis import strategies as st
from misbehaviours import DEEP, LASTING, PASSING, READ, UNUSABLE
from model_server import Fault, ModelServer, sensible_answers

from ludus.config import BudgetConfig, ExperimenterConfig
from ludus.experimenter import advice, answers, check, wire
from ludus.experimenter.addresses import OLLAMA, address_of, is_local
from ludus.experimenter.advice import LONGEST
from ludus.experimenter.ledger import MAX_FAILURES, CannotAsk
from ludus.experimenter.model import Model
from ludus.types import LudusError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("ludus.experimenter.model.FIRST_PAUSE_S", 0.001)
    with ModelServer(answer) as running:
        yield running


def answer(request):
    said = sensible_answers(request)
    assert isinstance(said, dict)
    if "task" in said:
        said |= {"task": "reach the red block", "why": "it is there"}
    return said | ({"steps": ["go to red"]} if "steps" in said else {})


def refused(ask, question):
    """What is said of the question that nobody answers."""
    role = next(r for r, q in QUESTIONS.items() if type(q) is type(question))
    with pytest.raises(LudusError) as error:
        getattr(ask, role)(question)
    said = str(error.value)
    assert "\x1b" not in said and "\n" not in said and said.isprintable()
    return said


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READ)
def test_what_can_be_read_is(server, words, name):
    for structure in ("native", "tool"):
        calls = Calls()
        ask = asked(server, words, calls, structure=structure)
        for role, question in QUESTIONS.items():
            server.faults.append(READ[name])
            assert getattr(ask, role)(question), (structure, role)
        json.dumps(calls.rows, ensure_ascii=False).encode()  # can be stored
        assert all(r["turns"] == 1 and r["answer"] and r["retries"] == 0 for r in calls.rows), (structure, calls.rows)
        assert all(0 < r["tokens_in"] < 2**40 and 0 < r["tokens_out"] < 2**40 for r in calls.rows)


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_holds_no_answer_is_recorded(server, words, name):
    calls = Calls()
    ask = asked(server, words, calls)
    for question in QUESTIONS.values():
        server.faults.extend([UNUSABLE[name]] * 3)
        said = refused(ask, question)
        assert "no usable answer of" in said and "structure=auto" not in said  # what it was made to be is named
        server.faults.clear()
    assert len(calls.rows) == len(QUESTIONS)
    assert all(r["answer"] is None and r["error"] and r["tokens_in"] and r["attempt"] == 0 for r in calls.rows)


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_asked_again(server, words, name):
    calls = Calls()
    ask = asked(server, words, calls, retries=1)
    server.faults.append(PASSING[name])
    assert ask.retrieve(RETRIEVE).caption == "reach red"
    assert [(r["retries"], r["error"]) for r in calls.rows] == [(1, None)]
    server.faults.extend([PASSING[name]] * 2)
    said = refused(ask, PROPOSE)
    assert "kept failing, 2 times" in said and len(said) < 3 * LONGEST
    assert [(r["retries"], r["attempt"]) for r in calls.rows[1:]] == [(1, 1)]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Not authenticated", 401),
        ("Incorrect API key provided: sk-..", 401),
        ("model 'x' not found", 404),
        ("Rate limit reached for api key sk-..; try again in 2s", None),
        ("authentication backend timed out, retry", None),
    ],
)
def test_which_errors_without_a_status_no_retry_helps(said, status):
    found = next((int(meant) for pattern, meant in wire.LASTING if pattern.search(said)), None)
    assert found == status


@pytest.mark.parametrize("name", LASTING)
def test_what_does_not_pass_is_told(server, words, name):
    calls = Calls()
    server.faults.append(LASTING[name])
    said = refused(asked(server, words, calls), PROPOSE)
    assert " refused: " in said and len(server.requests) == 1 and calls.rows[0]["attempt"] == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (PASSING["an error in 200"], "overloaded, try later (200); everything is kept"),
        (PASSING["an error as text"], "model is loading (200)"),
        (Fault.changed(lambda c: {"detail": "Not authenticated"}), "(200); the environment variable OPENAI_API_KEY is"),
        (Fault.changed(lambda c: {"error": "model 'm' not found"}), "'m' not found (200); no such model there"),
        (PASSING["html"], "no chat completion: <html>busy</html> (200)"),
        (PASSING["html"], "see that the address is an OpenAI-compatible server's, most end in /v1"),
        (PASSING["an error in the middle of a stream"], "out of memory (200)"),
        (Fault.status(405, message="Method Not Allowed"), "a wrong address"),
        (PASSING["status 409"], "status 409"),
        (LASTING["redirected as GET"], "it redirects to /v1/chat/completions?moved (302); no such model there"),
        (Fault.status(403, message="Your request was blocked by the firewall."), "it allows this to nobody, or not to"),
        (Fault.status(403, message="The key has expired."), "OPENAI_API_KEY is missing, wrong or expired"),
        (Fault.status(400, message="set stream=true"), "answers are not asked for as streams"),
        (LASTING["markup"], "[/red] [bold] <script>alert(1)</script>  [2J"[:40]),
    ],
)
def test_the_servers_words_are_shown_with_what_helps(server, words, fault, says):
    server.faults.append(fault)
    assert says in refused(asked(server, words, retries=0), PROPOSE)


def test_a_tool_that_was_not_offered_is_told_as_a_wrong_structure(server, words):
    call = {"id": "a", "type": "function", "function": {"name": "x" * 500, "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call] * 50}
    fault, calls = Fault.changed(lambda c: c | {"choices": [{"message": message, "finish_reason": "stop"}]}), Calls()
    for structure in ("native", "tool"):
        server.faults.extend([fault] * 3)
        said = refused(asked(server, words, calls, structure=structure), PROPOSE)
        assert f"in the way asked for; experimenter.structure={structure} may not suit it" in said
    assert all(r["turns"] == 3 and r["tokens_in"] for r in calls.rows)
    assert all("x" * 65 not in text and text.count("x" * 64) < 50 for r in server.requests for _, text in r.messages)


def test_what_is_sent_back_to_be_mended_is_no_book(server, words):
    server.faults.extend([UNUSABLE["longer than any answer"]] * 3)
    refused(asked(server, words), PROPOSE)
    assert len(server.requests) == 3 and all(len(r.text) < 6 * wire.LARGEST_TEXT for r in server.requests)


def test_redirects_on_the_same_host_are_followed(server, words):
    for status in (307, 308):
        server.faults.append(Fault.redirect("/v1/chat/completions?moved", status))
        question = replace(RETRIEVE, key=f"r1-s{status}-a0/retrieve/0")
        assert asked(server, words).retrieve(question).caption == "reach red"
    assert len(server.requests) == 4 and server.requests[1].text == server.requests[0].text
    server.faults.extend([Fault.redirect("/v1/chat/completions?moved")] * 50)
    assert "it redirects to" in refused(asked(server, words), PROPOSE) and len(server.requests) < 15


def test_the_older_name_of_the_limit_is_found(server, words):
    def strict(request):
        if "max_completion_tokens" in request.settings:
            message = "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens')}]"
            return Fault.status(422, message=message)
        return Fault.nothing()

    server.misbehave, calls = strict, Calls()
    ask = asked(server, words, calls, max_tokens=77, retries=0)
    assert ask.retrieve(RETRIEVE).caption == "reach red" and ask.propose(PROPOSE).task
    assert [r.settings.get("max_tokens") for r in server.requests] == [None, 77, 77]
    assert sum(r["turns"] + r["retries"] for r in calls.rows) == 3


@pytest.mark.parametrize("structure", ["native", "tool", "prompted"])
def test_no_conversation_has_two_system_messages(server, words, structure):
    server.faults.extend([Fault.text("no <system>json"), Fault.text('{"caption": "fly", "task": 3}')])
    asked(server, words, structure=structure).retrieve(RETRIEVE)
    asked(server, words, structure=structure).propose(PROPOSE)
    assert len(server.requests) == 4
    for request in server.requests:
        assert [role for role, _ in request.messages].count("system") == 1 and request.messages[0][0] == "system"


def test_a_kept_answer_that_is_damaged_is_told(server, words):
    calls = Calls()
    asked(server, words, calls).propose(PROPOSE)
    for damaged in ({"task": 5}, [], "x"):
        calls.rows[0]["answer"] = damaged
        with pytest.raises(CannotAsk, match=r"kept to 'r1-s0-a0/propose' fits its type no more"):
            asked(server, words, calls).propose(PROPOSE)


# --- what it uses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no usage", "usage null", "usage zero", "usage beyond 64 bits", "usage negative"])
def test_what_is_not_reported_counts_as_reserved(server, words, name):
    server.misbehave, calls = lambda request: READ[name], Calls()
    ask = asked(server, words, calls, BudgetConfig(tokens=9000), price_in=1, price_out=10)

    def forty():
        for i in range(40):
            ask.retrieve(replace(RETRIEVE, key=f"r1-s{i}-a0/retrieve/0"))

    with pytest.raises(CannotAsk, match=r"budget.tokens=9000 is used up"):
        forty()
    assert 1 <= len(server.requests) <= 6 and sum(r["tokens_in"] + r["tokens_out"] for r in calls.rows) <= 9000
    assert all(r["tokens_out"] == 1500 and r["usd"] >= 0.015 for r in calls.rows)


def test_local_addresses_cost_nothing(server, words):
    calls = Calls()
    asked(server, words, calls, BudgetConfig(usd=0.01)).retrieve(RETRIEVE)
    assert calls.rows[0]["usd"] == 0


@pytest.mark.parametrize(
    ("name", "local"),
    [
        *((f"http://{host}/v1#m", True) for host in ("localhost:8080", "127.0.0.1", "[::1]:1", "10.0.0.7", "gpu", "a.local")),
        *((f"https://{host}/v1#m", False) for host in ("api.openai.com", "8.8.8.8:80", "[2001:4860:4860::8888]")),
        ("openai:gpt-5", False),
        ("http://[::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_local(name, local):
    assert is_local(name) is local


def test_ollama_is_a_server_with_an_address(server, words, monkeypatch):
    """Asked as any address is: natively, with one system message, at no cost; that it has no eyes is noticed."""
    name, calls = "ollama:smollm2:135m", Calls()
    monkeypatch.setenv("OLLAMA_BASE_URL", server.url)
    server.faults.append(Fault.text("no json"))
    asked(SimpleNamespace(url=name), words, calls, BudgetConfig(usd=0.01)).retrieve(RETRIEVE)
    assert [(r["model"], r["usd"]) for r in calls.rows] == [(name, 0.0)] and len(server.requests) == 2
    for request in server.requests:
        assert (request.model, request.mode) == ("smollm2:135m", "native")
        assert [role for role, _ in request.messages].count("system") == 1
    server.list = ({"data": [{"id": "smollm2:135m", "input_modalities": ["text"]}]}, 0)
    with pytest.raises(LudusError, match=r"^ollama:\S+ takes no pictures"):
        check(name, ExperimenterConfig(propose=name), BudgetConfig(), reach=True)
    said = check(name, ExperimenterConfig(propose=name, images=False), BudgetConfig(), reach=True)
    assert said == f"{name} answers by experimenter.structure=native"


def test_where_ollama_is(monkeypatch):
    monkeypatch.delenv("OLLAMA_BASE_URL", raising=False)
    assert address_of("ollama:m") == f"{OLLAMA}#m"
    for base, said in {
        "http://127.0.0.1:1/v1": r"^ollama:m could not be reached at http://127.0.0.1:1/v1",
        "localhost:11434": r"OLLAMA_BASE_URL='localhost:11434' is no address; set it to one like http",
        "http://me:pw@host/v1": r"leave user, password and query out of .* variable OLLAMA_API_KEY$",
    }.items():
        monkeypatch.setenv("OLLAMA_BASE_URL", base)
        with pytest.raises(LudusError, match=said) as error:
            Model("ollama:m", ExperimenterConfig(retries=0)).reach()
        assert "pw" not in str(error.value)


def test_a_model_that_thinks_its_answer_away_is_told_which_setting_to_raise(server, words):
    server.misbehave = lambda request: UNUSABLE["cut by max_tokens"]
    ask = asked(server, words, max_tokens=99)
    for i in range(MAX_FAILURES):
        assert "did not fit into experimenter.max_tokens=99; raise it" in refused(ask, replace(PROPOSE, key=f"k{i}"))
    said = refused(ask, PROPOSE)
    assert "20 times in a row" in said and "experimenter.max_tokens=99; raise it" in said
    assert len(server.requests) == MAX_FAILURES  # thinking again helps as little


# --- before a run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listed",
    [b"<html>hi</html>", b"null", b"data: {}\n\n", b"", DEEP, [1], {"data": None}, {"data": [None, {"id": {}}]}, {"data": "x"}],
)  # fmt: skip
def test_a_list_of_models_that_is_none_says_nothing(server, listed):
    server.list = (listed, 0)
    Model(server.url, ExperimenterConfig()).reach(with_pictures=True)


def test_the_first_look_takes_no_longer_than_a_request(server):
    server.list = ([], 30)
    begun = time.monotonic()
    with pytest.raises(
        LudusError, match=r"could not be reached: no list of its models in experimenter.timeout_s=0.3; see"
    ):
        Model(server.url, ExperimenterConfig(timeout_s=0.3, retries=9)).reach()
    assert time.monotonic() - begun < 10  # not ten times as long, with pauses


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_is_not_there_is_named(words, monkeypatch, variable):
    for name in (n for n in os.environ if n.upper().endswith("_PROXY")):
        monkeypatch.delenv(name)
    monkeypatch.setenv(variable, "http://me:pw-secret@127.0.0.1:1")
    with pytest.raises(
        LudusError, match=rf"could not be reached.*variable {variable} is set; see that its proxy"
    ) as error:
        Model("https://models.invalid/v1#m", ExperimenterConfig(timeout_s=20, retries=0)).reach()
    assert "secret" not in str(error.value)
    monkeypatch.setenv("no_proxy", "models.invalid")
    assert advice.on_proxy("https://models.invalid/v1#m") is None
    assert advice.on_proxy("http://127.0.0.1:1/v1") is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "begin its address with http://"),
        ("illegal status line: bytearray(b'x')", "begin its address with https://"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed",
            "certificate that signed its own in the environment variable SSL",
        ),
    ],
)
def test_another_protocol_or_an_unknown_certificate_is_told(monkeypatch, error, says):
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/hosts")  # which is not the reason
    assert says in advice.tired("https://127.0.0.1/v1", OSError(error), 1)
    assert says in advice.tired("https://127.0.0.1/v1", ExceptionGroup("several", [OSError(error)]), 1)


def test_what_the_list_says_is_shown_on_one_line(server):
    server.list = ({"data": [{"id": "m", "input_modalities": ["te\x1b[31mxt\n" + "z" * 5000] * 500}]}, 0)
    with pytest.raises(LudusError, match=r"takes no pictures") as error:
        Model(f"{server.url}#m", ExperimenterConfig()).reach(with_pictures=True)
    assert str(error.value).isprintable() and len(str(error.value)) < 1500


@pytest.mark.parametrize(
    ("said", "n_models"), [(["completion"], 1), (["completion", "multimodal"], 1), ([], 1), (["x"], 2)]
)
def test_a_server_of_llama_cpp_says_whether_its_model_has_eyes(server, said, n_models):
    own = [{"name": "m", "model": "m", "capabilities": said}, {"name": "n", "model": "n"}][:n_models]
    server.list = ({"models": own, "data": [{"id": "m", "meta": {"n_ctx": 8192}}]}, 0)
    model, blind = Model(f"{server.url}#m", ExperimenterConfig()), said in (["completion"], ["x"])
    with (
        pytest.raises(LudusError, match=r"capabilities: .*; set experimenter.images=false") if blind else nullcontext()
    ):
        model.reach(with_pictures=True)


@pytest.mark.parametrize("place", ["input_modalities", "architecture"])
def test_a_model_without_eyes_is_noticed(server, place):
    blind = {"id": "m", place: ["text"] if place == "input_modalities" else {"input_modalities": ["text"]}}
    server.list = ({"data": [{"id": "other", "input_modalities": ["text", "image"]}, blind]}, 0)
    name = f"{server.url}#m"
    plays = {"propose": name}
    with pytest.raises(LudusError, match=r"input_modalities: text; set experimenter.images=false"):
        check(name, ExperimenterConfig(**plays), BudgetConfig(), reach=True)
    said = check(name, ExperimenterConfig(**plays, images=False), BudgetConfig(), reach=True)
    assert said == f"{name} answers by experimenter.structure=native"
    check(name, ExperimenterConfig(retrieve=name), BudgetConfig(), reach=True)  # is shown no pictures
    check(f"{server.url}#other", ExperimenterConfig(propose=f"{server.url}#other"), BudgetConfig(), reach=True)


@pytest.mark.parametrize("key", ["\u201csk-0123456789\u201d", "sk-0123456789\n", "sk-01234\n56789", " sk-0123456789"])
@pytest.mark.parametrize("name", ["http://localhost:1/v1#m", "openai:gpt-5", "ollama:m"])
def test_keys_that_cannot_be_sent(monkeypatch, name, key):
    variable = "OLLAMA_API_KEY" if name == "ollama:m" else "OPENAI_API_KEY"
    monkeypatch.setenv(variable, key)
    with pytest.raises(LudusError, match=f"{variable} has characters that no key has") as error:
        Model(name, ExperimenterConfig())
    assert "0123" not in str(error.value)


def test_an_empty_key_is_none(server, words, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert asked(server, words).propose(PROPOSE).task
    with pytest.raises(LudusError, match=r"cannot be used: .*OPENAI_API_KEY"):
        Model("openai:gpt-5", ExperimenterConfig())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://me:pw-secret@127.0.0.1:1"),
        ("HTTPS_PROXY", "ftp://x"),
        ("HTTPS_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
def test_variables_that_stand_in_the_way_are_named(server, words, monkeypatch, variable, value):
    for name in (n for n in os.environ if n.upper().endswith("_PROXY") or n.startswith("SSL_CERT")):
        monkeypatch.delenv(name)
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert asked(server, words).propose(PROPOSE).task  # not in the way of this machine
    for model in ("https://models.invalid/v1#m", "openai:gpt-5"):
        with pytest.raises(LudusError, match=f"cannot be used: .*the environment variable {variable} is set") as error:
            Model(model, ExperimenterConfig())
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["http://[::1/v1", "http://a:99999/v1", "http://", "https://#x[/nope]", "http://\ud83d/v1"]
)
def test_addresses_that_are_none(name):
    """What cannot be an address is refused, or not reached."""
    with pytest.raises(LudusError, match=r"cannot be used|could not be reached"):
        Model(name, ExperimenterConfig(timeout_s=1, retries=0)).reach()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("http://localhost:1/v1/chat/completions", "leave /chat/completions out of the address"),
        ("http://localhost:1/v1/models/#m", "leave /models out of the address"),
        ("http://127.0.0.1:65536/v1", "cannot be used: Port out of range"),
    ],
)
def test_addresses_of_which_nothing_can_come_are_refused_before_a_run(name, says):
    with pytest.raises(LudusError, match=says):
        check(name, ExperimenterConfig(propose=name), BudgetConfig())


# --- laws --------------------------------------------------------------------------------------------------------

FIELDS = (
    *(
        "choices",
        "message",
        "delta",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "index",
        "id",
        "text",
        "x",
    ),
    *(
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "completion_tokens_details",
        "error",
        "code",
        "detail",
        "finish_reason",
    ),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)


@given(anything, st.booleans())
def test_whatever_is_sent_becomes_a_completion_or_an_error(body, streamed):
    sent = json.dumps(body).encode()
    status, content = wire.answer(b"data: " + sent + b"\n\n" if streamed else sent)
    read = json.loads(content)
    if status != 200:
        assert 400 <= status < 600 and isinstance(read["error"]["message"], str)
        return
    (choice,) = read["choices"]
    assert isinstance(choice["message"]["content"], str | None) and isinstance(choice["finish_reason"], str | None)
    for k, call in enumerate(choice["message"].get("tool_calls", ())):
        function = call.pop("function")
        assert call == {"id": f"call_{k}", "type": "function"}
        assert isinstance(function["name"], str) and isinstance(function["arguments"], str)
    assert read["usage"] is None or 0 < read["usage"]["total_tokens"] < 2**32
    content.decode().encode()


@given(st.binary(max_size=60), st.sampled_from([None, "latin-1", "utf-16", "nonsense"]))
def test_bytes_become_an_error(sent, encoding):
    assert wire.answer(sent, encoding)[0] in (200, 502)


@given(st.text(max_size=2000), st.floats() | st.integers() | st.text(max_size=5))
def test_what_is_only_too_long_or_in_percent_is_never_refused(text, share):
    said = {"task": text, "why": text, "goal": text, "success_probability": 1 / 3}
    got = answers.ProposeAnswer.model_validate_json(json.dumps(said))
    assert got.task == text[: answers.LONGEST_TEXT] == got.why
    assert len(answers.DecomposeAnswer(steps=[text] * 50).steps) == answers.MOST_STEPS
    try:
        got = answers.AnalyseAnswer.model_validate({"judgement": "stuck", "probability": share})
    except ValueError:
        return
    assert 0 <= got.probability <= 1


def test_percentages_are_shares():
    def read(said):
        return answers.AnalyseAnswer.model_validate({"judgement": "stuck", "probability": said}).probability

    shares = [read(s) for s in (0, "1%", "2 %", 0.5, "85", "85 %", 85, "0.9", 1, "100%")]
    assert shares == [0, 0.01, 0.02, 0.5, 0.85, 0.85, 0.85, 0.9, 1, 1]
    assert all(a <= b or b == 0.85 for a, b in pairwise(shares))


CAPTIONS = ("reach red", "lift red")
TYPES = [
    *(answers.ProposeAnswer, answers.DecomposeAnswer, answers.AnalyseAnswer, answers.WriteSkillAnswer),
    *(make(CAPTIONS) for make in (answers.retrieve_answer, answers.rank_answer, answers.experiment_answer)),
]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_no_length_in_a_schema_is_more_than_servers_make_a_grammar_of(kind):
    def lengths(part):
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(value, dict | list):
                yield from lengths(value)
            elif name in ("maxLength", "maxItems"):
                yield value

    assert 0 < max(lengths(kind.model_json_schema()), default=1) <= answers.ASKED_EXPRESSION < 2000


def test_an_expression_that_is_longer_than_asked_for_is_taken():
    text = "1 + " * 300 + "1"
    assert len(text) > answers.ASKED_EXPRESSION and answers.WriteSkillAnswer(reward=text).reward == text
