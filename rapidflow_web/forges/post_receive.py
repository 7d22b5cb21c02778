"""The hook by which a repository without a forge tells the server of pushes."""

from __future__ import annotations

_SCRIPT = """\
#!/bin/sh
answer=$(curl -sS -w ' %{{http_code}}' {login}-H 'Content-Type: text/plain' --data-binary @- \
  {base}/repositories/{id}/refs) || exit
case $answer in
  *202) echo "RapidFlow: {base}/ui/repositories/{id}/events" ;;
  *) printf 'RapidFlow: %s\\n' "$answer" >&2; exit 1 ;;
esac"""
# Not --fail-with-body, which curl has only since 2021.


def script(base: str, repository_id: int, *, with_token: bool) -> str:
    """What is to be `hooks/post-receive`. `base` is the URL of the server; TOKEN stands for a token.

    Whoever pushes reads where the builds are, or what the server refused.
    """
    login = "-H 'Authorization: Bearer TOKEN' " if with_token else ""
    return _SCRIPT.format(login=login, base=base, id=repository_id)
