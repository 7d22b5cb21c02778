from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from rapidflow_web.forges import base
from rapidflow_web.forges.base import WrongSignature
from tests.support.payloads import NOW, SECRET, headers_for, standard_headers

BODY = b'{"ref": "refs/heads/main"}'
OTHER = "f" * 32
FORGES = ["github", "gitlab", "gitea", "forgejo", "bitbucket", "git"]


def refusal(
    headers: list[list[str]], body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), now: float = NOW
) -> str:
    """The sentence with which a delivery is refused; empty where it is not."""
    try:
        base.verify(headers, body, secrets, now)
    except WrongSignature as error:
        return str(error)
    return ""


def pairs(headers: dict[str, str]) -> list[list[str]]:
    """Headers as they are stored."""
    return [[name, value] for name, value in headers.items()]


def digest(body: bytes = BODY, secret: str = SECRET, algorithm: str = "sha256") -> str:
    """A signature in hex."""
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


@pytest.mark.parametrize("forge", FORGES)
def test_a_delivery_of_each_forge_is_verified(forge: str) -> None:
    assert refusal(headers_for(forge, "push", BODY)) == ""


@pytest.mark.parametrize("forge", FORGES)
def test_a_delivery_with_another_secret_is_refused(forge: str) -> None:
    assert "set the secret of the webhook to that of the repository" in refusal(
        headers_for(forge, "push", BODY, OTHER)
    )


@pytest.mark.parametrize("forge", [forge for forge in FORGES if forge != "gitlab"])
def test_a_delivery_whose_body_was_changed_is_refused(forge: str) -> None:
    assert "does not fit the body" in refusal(headers_for(forge, "push", BODY), BODY + b" ")


@pytest.mark.parametrize("forge", FORGES)
def test_the_secret_before_the_present_one_counts_where_it_is_given(forge: str) -> None:
    headers = headers_for(forge, "push", BODY, OTHER)

    assert refusal(headers, secrets=(SECRET, OTHER)) == ""
    assert refusal(headers, secrets=(OTHER, SECRET)) == ""


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("secrets", [(), ("",), ("", "")])
def test_without_a_secret_nothing_is_accepted(forge: str, secrets: tuple[str, ...]) -> None:
    assert "has no secret" in refusal(headers_for(forge, "push", BODY, ""), secrets=secrets)


def test_a_delivery_without_a_signature_is_refused() -> None:
    assert refusal([["X-GitHub-Event", "push"]]).startswith("the signature is missing")


@pytest.mark.parametrize(
    "name",
    ["X-Hub-Signature-256", "X-Hub-Signature", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gitlab-Token"],
)
def test_an_empty_signature_is_refused(name: str) -> None:
    assert f"the header {name.lower()} is empty" in refusal([[name, ""]])


def test_an_empty_signature_of_gitea_is_not_made_up_for_by_that_of_github() -> None:
    signed = ["X-Hub-Signature-256", f"sha256={digest()}"]
    assert refusal([signed]) == ""

    assert "x-gitea-signature is empty" in refusal([signed, ["X-Gitea-Signature", ""]])
    assert "does not fit" in refusal([signed, ["X-Forgejo-Signature", digest(secret=OTHER)]])


def test_the_signature_of_gitea_counts_for_more_than_that_of_github() -> None:
    wrong = ["X-Hub-Signature-256", f"sha256={digest(secret=OTHER)}"]

    assert refusal([wrong, ["X-Gitea-Signature", digest()]]) == ""


def test_hashes_of_other_kinds_are_refused() -> None:
    assert "must begin with sha256=" in refusal([["X-Hub-Signature", f"sha1={digest(algorithm='sha1')}"]])
    assert "must begin with sha256=" in refusal([["X-Hub-Signature-256", digest()]])
    assert "does not fit" in refusal([["X-Gitea-Signature", f"sha256={digest()}"]])


def test_github_may_send_its_old_hash_beside_the_new_one() -> None:
    old = ["X-Hub-Signature", f"sha1={digest(algorithm='sha1')}"]

    assert refusal([old, ["X-Hub-Signature-256", f"sha256={digest()}"]]) == ""


def test_a_signature_that_is_sent_twice_is_refused() -> None:
    signed = ["X-Hub-Signature-256", f"sha256={digest()}"]

    assert "does not fit" in refusal([signed, ["x-hub-signature-256", f"sha256={digest(secret=OTHER)}"]])


@pytest.mark.parametrize("value", ["ü" * 64, "\udcff", "x" * 100_000, "sha256=", "null"])
@pytest.mark.parametrize(
    "name", ["X-Hub-Signature-256", "X-Gitea-Signature", "X-Gitlab-Token", "webhook-signature"]
)
def test_nonsense_is_refused_with_a_sentence(name: str, value: str) -> None:
    standard = {**standard_headers(BODY), name: value}

    assert refusal([[name, value]])
    assert refusal(pairs(standard)) or name != "webhook-signature"


def test_a_form_is_signed_as_it_is() -> None:
    form = b"payload=%7B%22ref%22%3A1%7D"

    assert refusal([["X-Hub-Signature-256", f"sha256={digest(form)}"]], form) == ""


def test_one_of_several_signatures_must_fit() -> None:
    right, wrong = standard_headers(BODY), standard_headers(BODY, OTHER)
    both = f"v1a,c29tZXRoaW5n {wrong['webhook-signature']} {right['webhook-signature']}"

    assert refusal(pairs({**right, "webhook-signature": both})) == ""
    assert "does not fit" in refusal(pairs({**right, "webhook-signature": wrong["webhook-signature"]}))
    assert "no signature that begins with v1" in refusal(
        pairs({**right, "webhook-signature": "v1a,c29tZQ=="})
    )


def test_only_the_first_signatures_are_looked_at() -> None:
    right = standard_headers(BODY)
    many = "v1,AAAA " * 20 + right["webhook-signature"]

    assert "does not fit" in refusal(pairs({**right, "webhook-signature": many}))


@pytest.mark.parametrize("age", [0, 299, 300, -300])
def test_a_timestamp_may_be_five_minutes_off(age: int) -> None:
    assert refusal(pairs(standard_headers(BODY, timestamp=int(NOW) - age))) == ""


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (301, "is 5 min old"),
        (12 * 60, "is 12 min old"),
        (-720, "is 12 min in the future"),
        (86_400, "is 24 h old"),
    ],
)
def test_an_old_delivery_is_refused_with_its_age(age: int, words: str) -> None:
    said = refusal(pairs(standard_headers(BODY, timestamp=int(NOW) - age)))

    assert words in said and "compare the clocks" in said


def test_whoever_does_not_know_the_secret_is_told_nothing_of_the_timestamp() -> None:
    assert "does not fit" in refusal(pairs(standard_headers(BODY, OTHER, timestamp=1)))


@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "-5", "9" * 13, "١٢٣"])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    headers = {**standard_headers(BODY), "webhook-timestamp": timestamp}

    assert "webhook-timestamp" in refusal(pairs(headers))


def test_the_id_and_the_timestamp_are_signed() -> None:
    headers = standard_headers(BODY)

    assert "does not fit" in refusal(pairs({**headers, "webhook-id": "msg_2"}))
    assert "does not fit" in refusal(pairs({**headers, "webhook-timestamp": str(int(NOW) + 1)}))
    assert "belong to a webhook-signature" in refusal([["webhook-signature", headers["webhook-signature"]]])


def test_gitlab_signs_with_the_secret_as_its_key() -> None:
    # GitLab takes `whsec_` and 32 bytes in base64. The bytes are those of the secret.
    key = base64.b64decode(base64.b64encode(base.new_secret().encode()))
    assert len(key) == 32
    signed = base64.b64encode(hmac.new(key, b"1.%d.%b" % (int(NOW), BODY), hashlib.sha256).digest()).decode()
    headers = {
        "X-Gitlab-Event": "Push Hook",
        "webhook-id": "1",
        "webhook-timestamp": str(int(NOW)),
        "webhook-signature": f"v1,{signed}",
    }

    assert refusal(pairs(headers), secrets=(key.decode(),)) == ""


def test_a_signature_of_gitlab_must_fit_even_beside_its_token() -> None:
    wrong = {"X-Gitlab-Token": SECRET, **standard_headers(BODY, OTHER)}
    right = {"X-Gitlab-Token": "", **standard_headers(BODY)}

    assert "does not fit" in refusal(pairs(wrong))
    assert refusal(pairs(right)) == ""


def test_secrets_are_made_anew_each_time() -> None:
    assert len({base.new_secret() for _ in range(100)}) == 100
