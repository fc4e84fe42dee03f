"""Train Hugging Face Transformers across organisations that cannot share their data."""
