"""What a verifier is trained on: rows with labels, from any file that carries them, alone, in pairs or in mixtures."""
