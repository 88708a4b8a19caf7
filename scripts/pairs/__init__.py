"""Files of sentence pairs in, predictions out: the reader, resumable output and the client."""
