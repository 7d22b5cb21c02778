"""Who is told of builds: forges by commit statuses, people by mail, programs by webhooks.

Each listener turns rows of the outbox into rows of its own; a sender sends these, and tries again.
"""
