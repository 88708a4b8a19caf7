"""The tutorial's server: Flask, one pair a pass, padded to the maximum, in float32."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import flask
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from werkzeug.serving import WSGIRequestHandler

from handler.checkpoint import Checkpoint


def serve(folder: Path, port: int) -> None:
    """Serve the checkpoint in `folder` until the process is ended."""
    checkpoint = Checkpoint.read(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    app = flask.Flask(__name__)

    @app.post("/api")  # type: ignore[untyped-decorator]
    def api() -> flask.Response:
        query = flask.request.get_json()
        inputs = tokenizer(
            [(query["premise"], query["hypothesis"])],
            max_length=checkpoint.max_seq_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            probabilities = model(**inputs).logits.softmax(dim=1)[0].tolist()
        best = checkpoint.labels[max(range(len(probabilities)), key=probabilities.__getitem__)]
        answer = {"premise": query["premise"], "hypothesis": query["hypothesis"], "prediction": best}
        for label, value in zip(checkpoint.labels, probabilities, strict=True):
            answer |= {f"{label}_data": f"{label} {value:.2f}", f"{label}_width": f"{value * 100}%"}
        return flask.Response(json.dumps(answer, ensure_ascii=False), mimetype="application/json")

    # Without this, the development server closes the connection after each answer.
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    app.run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
