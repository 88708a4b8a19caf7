"""Ask the gateway with a key, and again where it says to.

NLI_URL=http://127.0.0.1:8000 NLI_KEY=... python ask.py "비가 온다." "날씨가 맑다."
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

TRIES = 5


def classify(premise, hypothesis):
    """The prediction for one pair, as docs/api.md describes it."""
    request = urllib.request.Request(
        f"{os.environ['NLI_URL']}/predictions/nli",
        json.dumps({"premise": premise, "hypothesis": hypothesis}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['NLI_KEY']}"},
    )
    tries = 0
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            tries += 1
            wait = error.headers["Retry-After"]  # with 429, 502 and 503: the request may be sent again
            if wait is None or tries == TRIES:
                raise SystemExit(f"{error.code}: {json.load(error)['message']}") from None
            time.sleep(int(wait))


if __name__ == "__main__":
    answer = classify(*sys.argv[1:3])
    print(answer["label"], answer["probabilities"][answer["label"]])
