"""Which ports listen in the network namespace of a container, without connecting to any."""

from __future__ import annotations

_LISTEN = "0A"
_ENGINES_DNS = "0B00007F"
"""127.0.0.11, where the engine itself listens at some port in each container of a network that it made."""

# By means of sh alone. Sockets that listen come first in these files, so that all others need not be read.
SCRIPT = f"""
for file in /proc/net/tcp /proc/net/tcp6; do
  [ -r "$file" ] || continue
  while read -r _ address _ state _; do
    case $state in
      st) ;;
      {_LISTEN}) echo "$address" ;;
      *) break ;;
    esac
  done <"$file"
done
"""
"""Prints the addresses that listen, each a line, as `listening_ports` takes them."""


def listening_ports(printed: str) -> set[int]:
    """The ports out of addresses like `00000000:1538`. Others are ignored."""
    ports: set[int] = set()
    for line in printed.split():
        address, _, port = line.partition(":")
        if address != _ENGINES_DNS and len(port) == 4:
            try:
                ports.add(int(port, 16))
            except ValueError:
                continue
    return ports
