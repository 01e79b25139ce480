"""Speech to text, by a Whisper model beside the engine."""
