"""LoRA adapter versions: published, verified, registered, loaded into the engine."""
