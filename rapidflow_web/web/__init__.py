"""What the API and the pages share: requests, responses, errors, streams."""
