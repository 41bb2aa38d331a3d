"""The model card of a published verifier: facts read from its directory, snippets that were run, one template."""
