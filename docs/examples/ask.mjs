// Ask the gateway with a key, and again where it says to. Node 18 or later, or a browser.
// NLI_URL=http://127.0.0.1:8000 NLI_KEY=... node ask.mjs "비가 온다." "날씨가 맑다."
const TRIES = 5;

async function classify(premise, hypothesis) {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(`${process.env.NLI_URL}/predictions/nli`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${process.env.NLI_KEY}` },
      body: JSON.stringify({ premise, hypothesis }),
    });
    const body = await response.json();
    if (response.ok) return body;
    const wait = response.headers.get("Retry-After"); // with 429, 502 and 503: the request may be sent again
    if (wait === null || attempt === TRIES) throw new Error(`${response.status}: ${body.message}`);
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(wait)));
  }
}

const answer = await classify(...process.argv.slice(2, 4));
console.log(answer.label, answer.probabilities[answer.label]);
