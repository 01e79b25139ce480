"""Fine-tuning jobs that clients ask for over the API: validated, trained, registered."""
