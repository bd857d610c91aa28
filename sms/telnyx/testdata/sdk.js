// Asks the provider's own SDK: whether it believes these webhooks, what it reads
// in them, and which request it sends for a text. JSON in, JSON out.
const { Telnyx } = require("telnyx");
const http = require("http");

const input = JSON.parse(require("fs").readFileSync(0, "utf8"));

async function main() {
  const client = new Telnyx({ apiKey: input.key, publicKey: input.publicKey, maxRetries: 0 });
  const webhooks = [];
  for (const w of input.webhooks) {
    try {
      const event = await client.webhooks.unwrap(w.body, { headers: w.headers });
      webhooks.push({ id: event.data.payload.id });
    } catch (e) {
      webhooks.push({ refused: String(e.message) });
    }
  }
  const requests = [];
  const server = http.createServer((req, res) => {
    let body = "";
    req.setEncoding("utf8").on("data", (d) => (body += d)).on("end", () => {
      requests.push({ method: req.method, path: req.url, type: req.headers["content-type"] || "", auth: req.headers.authorization, body });
      res.writeHead(200, { "Content-Type": "application/json", Connection: "close" }).end('{"data":{"id":"x"}}');
    });
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const here = new Telnyx({ apiKey: input.key, maxRetries: 0, baseURL: "http://127.0.0.1:" + server.address().port + "/v2" });
  await here.messages.send(input.message);
  await here.messagingProfiles.retrieve(input.profile);
  server.close();
  process.stdout.write(JSON.stringify({ webhooks, requests }));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
