"""Files in and out: resumable uploads, content-addressed store."""
