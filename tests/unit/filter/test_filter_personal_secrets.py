"""Secrets: tokens of services, private keys, passwords; and the gibberish that they are made of."""

import random
import re
import string

import pytest

from tasks.filter.personal.credentials import TOKEN_FORMS, find_secrets, is_gibberish
from tasks.filter.personal.stretches import Batch

ALNUM = string.ascii_letters + string.digits


def lots(seed: int, count: int, signs: str = ALNUM) -> str:
    return "".join(random.Random(seed).choices(signs, k=count))


def found(text: str, *, is_code: bool = False) -> list[tuple[str, str]]:
    spans = find_secrets(text, Batch([text]).long_words()[0], is_code=is_code)
    return [(text[start:end], service) for start, end, service in spans]


# Put together here, so that nobody who scans this repository takes them for real ones.
UPPER = string.ascii_uppercase + "234567"
TOKENS = {
    "aws": "AKIA" + lots(1, 16, UPPER),
    "github": "ghp_" + lots(2, 36),
    "gitlab": "glpat-" + lots(3, 20),
    "slack": "xoxb-" + lots(4, 12, string.digits) + "-" + lots(5, 24),
    "google": "AIza" + lots(6, 35),
    "openai": "sk-proj-" + lots(7, 48),
    "stripe": "sk_live_" + lots(8, 24),
    "huggingface": "hf_" + lots(9, 34),
    "npm": "npm_" + lots(10, 36),
    "sendgrid": "SG." + lots(11, 22) + "." + lots(12, 43),
    "jwt": "eyJ" + lots(13, 20) + ".eyJ" + lots(14, 30) + "." + lots(15, 43),
    "telegram": lots(16, 9, "123456789") + ":AA" + lots(17, 33),
}


@pytest.mark.parametrize("service", TOKENS)
def test_tokens_are_found_whatever_stands_around_them(service: str):
    token = TOKENS[service]
    for text in (token, f'key = "{token}"', f"<{token}>", f"it is {token}, see?\n"):
        assert found(text) == [(token, service)]


def test_every_mark_of_a_service_is_in_all_that_its_form_finds():
    for form in TOKEN_FORMS:
        for service, token in TOKENS.items():
            if service == form.service and (match := form.form.search(token)):
                assert any(mark in match.group() for mark in form.marks)


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "x" * 36,
        "a task-oriented-and-risk-averse-approach-to-long-names",
        "https://user:password@host/",
        "https://user:$PASSWORD@host/",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    ],
)
def test_what_shows_only_how_it_is_done_is_no_secret(text: str):
    assert found(text, is_code=True) == []


def test_the_body_of_a_private_key_and_a_password_in_an_address():
    body = "\n" + "\n".join(lots(seed, 64) for seed in range(8)) + "\n"
    text = f"-----BEGIN RSA PRIVATE KEY-----{body}-----END RSA PRIVATE KEY-----"
    assert found(text) == [(body, "private_key")]
    assert found("postgres://admin:hu7Rt!9x@db.firma.de/x") == [("hu7Rt!9x", "url")]


def test_assignments_count_in_code_only_and_only_of_gibberish():
    value = lots(20, 32)
    line = f'API_KEY = "{value}"'
    assert found(line, is_code=True) == [(value, "assigned")]
    assert found(line) == []
    assert found('password = "correct horse battery"', is_code=True) == []
    assert found('token_url = "https://api.firma.de/v2/oauth/token"', is_code=True) == []
    assert found('secret_name = "production-database-credentials-2"', is_code=True) == []


def test_gibberish_is_told_from_words():
    drawn = [lots(seed, 32) for seed in range(200)]
    assert sum(map(is_gibberish, drawn)) > 190
    names = re.findall(r"\w{12,}", " ".join(f"{name}_{number}" for name, number in NAMES))
    assert not any(map(is_gibberish, names))


NAMES = [
    *(("authentication_service", 1), ("default_connection_limit", 2), ("UserProfileManager", 3)),
    *(("production_environment", 4), ("refreshAccessInterval", 5), ("maximum_retry_attempts", 6)),
]
