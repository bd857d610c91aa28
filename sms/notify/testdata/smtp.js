// An SMTP server (npm smtp-server) that prints each message, parsed (npm mailparser),
// as a line of JSON. Configuration comes as JSON in the environment.
const { SMTPServer } = require('smtp-server');
const { simpleParser } = require('mailparser');
const cfg = JSON.parse(process.env.SMTP_CONFIG);
let sessions = 0;
const server = new SMTPServer({
  secure: cfg.mode === 'implicit', key: cfg.key, cert: cfg.cert, disabledCommands: cfg.mode === 'none' ? ['STARTTLS'] : [],
  authOptional: !cfg.user, allowInsecureAuth: cfg.mode === 'none', logger: false,
  onAuth(auth, session, cb) {
    if (auth.username === cfg.user && auth.password === cfg.password) return cb(null, { user: auth.username });
    cb(new Error('Invalid username or password'));
  },
  onRcptTo(address, session, cb) {
    if (address.address.startsWith('nobody@')) { const e = new Error('no such mailbox ' + address.address); e.responseCode = 550; return cb(e); }
    if (address.address.startsWith('later@')) { const e = new Error('greylisted ' + address.address); e.responseCode = 451; return cb(e); }
    cb();
  },
  onData(stream, session, cb) {
    simpleParser(stream).then((m) => {
      console.log(JSON.stringify({ from: m.from.text, to: m.to.text, subject: m.subject, text: m.text, id: m.messageId, auto: m.headers.get('auto-submitted'),
        type: m.headers.get('content-type').value, tls: !!session.secure, user: session.user || '' }));
      cb();
    }, cb);
  },
});
server.on('error', () => {});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.server.address().port })));
