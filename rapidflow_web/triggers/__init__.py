"""What starts builds: repositories, webhooks, polls and schedules. It decides, and says why not."""
