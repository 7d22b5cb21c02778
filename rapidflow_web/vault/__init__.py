"""Secrets: encrypted where they are stored, decrypted only for the builds that name them."""
