// Sends one text with each provider's own SDK to the server that it is told, and
// checks signatures with them. Reads and writes JSON; see sdk_test.go.
const read = () => JSON.parse(require('fs').readFileSync(0, 'utf8'));
const {base, account, user, secret, message: m, tokens, plivo: signed, pem, publicPem, access} = read();
const quiet = (p) => Promise.resolve(p).catch((e) => ({failed: String(e && e.message)}));

(async () => {
  const out = {sent: {}, vonage: [], plivo: [], token: ''};

  const {Vonage} = require('@vonage/server-sdk');
  const {SMS} = require('@vonage/messages');
  const vonage = new Vonage({apiKey: account, apiSecret: secret}, {apiHost: base});
  out.sent.vonage = await quiet(vonage.messages.send(new SMS({
    to: m.to.slice(1), from: m.from.slice(1), text: m.text, clientRef: m.id, ttl: m.ttl, webhookUrl: m.callback, webhookVersion: 'v1',
  })));

  const plivo = require('plivo');
  const client = new plivo.Client(account, secret, {url: base + '/v1/Account/' + account});
  out.sent.plivo = await quiet(client.messages.create({
    src: m.from.slice(1), dst: m.to.slice(1), text: m.text, type: 'sms', url: m.callback, method: 'POST', messageExpiry: m.ttl,
  }));

  const bandwidth = require('bandwidth-sdk');
  // It knows no other address than its own.
  const http = require('axios').create();
  http.interceptors.request.use((r) => ({...r, url: r.url.replace('https://messaging.bandwidth.com', base)}));
  const api = new bandwidth.MessagesApi(new bandwidth.Configuration({username: user, password: secret}), undefined, http);
  out.sent.bandwidth = await quiet(api.createMessage(account, {
    applicationId: m.application, to: [m.to], from: m.from, text: m.text, tag: m.id, expiration: m.expires,
  }).then((r) => r.data));

  // An application shows itself with a token of its private key.
  const {tokenGenerate} = require('@vonage/jwt');
  const jwt = require('jsonwebtoken');
  const read1 = (t) => jwt.verify(t, publicPem, {algorithms: ['RS256'], complete: true});
  out.access = {ours: read1(access), theirs: read1(tokenGenerate('app-1', pem))};

  // Ours, checked by theirs.
  const {verifySignature} = require('@vonage/jwt');
  for (const t of tokens) out.vonage.push(verifySignature(t.token, t.key));
  for (const s of signed) {
    out.plivo.push(s.v2 ? plivo.validateSignature(s.uri, s.nonce, s.signature, s.token)
      : plivo.validateV3Signature(s.method, s.uri, s.nonce, s.token, s.signature, s.params));
  }

  // Theirs, checked by ours: the library that Vonage's SDK signs and verifies with.
  const body = JSON.stringify({channel: 'sms', text: m.text, to: '1', from: m.to.slice(1), message_uuid: 'u'});
  out.body = body;
  out.token = require('jsonwebtoken').sign(
    {api_key: account, payload_hash: require('crypto').createHash('sha256').update(body).digest('hex')}, secret, {algorithm: 'HS256'});
  process.stdout.write(JSON.stringify(out));
})();
