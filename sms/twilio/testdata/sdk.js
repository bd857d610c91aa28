// Asks the provider's own SDK: what it says of our signatures, which ones it
// makes, and which request it sends for a text. JSON in, JSON out.
const twilio = require("twilio");
const http = require("http");

const input = JSON.parse(require("fs").readFileSync(0, "utf8"));

async function main() {
  const forms = input.forms.map((f) => ({
    expected: twilio.getExpectedTwilioSignature(f.token, f.url, f.params),
    valid: twilio.validateRequest(f.token, f.signature, f.url, f.params),
  }));
  const bodies = input.bodies.map((b) => ({
    expected: twilio.getExpectedTwilioSignature(b.token, b.url, {}),
    valid: twilio.validateRequestWithBody(b.token, b.signature, b.url, b.body),
  }));
  const request = await new Promise((resolve, reject) => {
    const server = http.createServer((req, res) => {
      let body = "";
      req.setEncoding("utf8").on("data", (d) => (body += d)).on("end", () => {
        resolve({ method: req.method, path: req.url, type: req.headers["content-type"], auth: req.headers.authorization, body });
        res.writeHead(201, { "Content-Type": "application/json", Connection: "close" }).end('{"sid":"SM1"}');
        server.close();
      });
    });
    server.listen(0, "127.0.0.1", () => {
      // The SDK has no base URL of its own to set; its client takes requests to anywhere.
      const client = twilio(input.account, input.token);
      const send = client.httpClient.request.bind(client.httpClient);
      client.httpClient.request = (o) => send({ ...o, uri: o.uri.replace(/^https:\/\/api\.twilio\.com/, "http://127.0.0.1:" + server.address().port) });
      client.messages.create(input.message).catch(reject);
    });
  });
  process.stdout.write(JSON.stringify({ forms, bodies, request }));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
