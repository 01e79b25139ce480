"""`/v1/realtime`: transcription while it is spoken, by OpenAI's Realtime protocol."""
