'use strict';
// An SMSC made of the npm package smpp, for textback's tests. It reads commands from its
// standard input, one JSON object a line, and answers each with one on its standard output:
// {n, do, server, …} and {n, …}. Texts are decoded by the package, not by us.
const smpp = require('smpp');
const servers = [];

const commands = {
	listen({ key, cert }, done) {
		const s = { sessions: new Set(), order: { take: true, answer: true, status: 0 }, bind: 0, binds: [], submits: [], port: 0 };
		s.server = smpp.createServer(key ? { key, cert } : {}, (session) => serve(s, session));
		servers.push(s);
		s.server.listen(0, '127.0.0.1', () => {
			s.port = s.server.address().port;
			done({ server: servers.length - 1, port: s.port });
		});
	},
	order({ server, order, bind }, done) {
		Object.assign(servers[server], { order, bind });
		done({});
	},
	submits({ server }, done) {
		done({ submits: servers[server].submits, binds: servers[server].binds });
	},
	// As an SMSC that is shut down: no new sessions, the old ones are unbound.
	down({ server }, done) {
		const s = servers[server];
		s.server.close();
		let open = s.sessions.size;
		if (!open) done({});
		for (const session of s.sessions) {
			session.unbind(() => {
				session.destroy(() => { if (!--open) done({}); });
			});
		}
	},
	up({ server }, done) {
		const s = servers[server];
		if (s.server.listening) return done({});
		s.server.listen(s.port, '127.0.0.1', () => done({}));
	},
	drop({ server }, done) {
		const all = [...servers[server].sessions];
		let open = all.length;
		if (!open) done({});
		for (const session of all) session.destroy(() => { if (!--open) done({}); });
	},
	deliver({ server, pdu }, done) {
		const bound = [...servers[server].sessions].find((session) => session.isBound);
		if (!bound) return done({ status: -1 });
		if (pdu.short_message && pdu.short_message.udh) pdu.short_message.udh = Buffer.from(pdu.short_message.udh, 'hex');
		const gone = () => done({ status: -1 });
		bound.once('close', gone);
		bound.deliver_sm(pdu, (answer) => {
			bound.removeListener('close', gone);
			done({ status: answer.command_status });
		});
	},
};

function serve(s, session) {
	s.sessions.add(session);
	session.on('close', () => s.sessions.delete(session));
	session.on('error', () => session.destroy());
	session.on('bind_transceiver', (pdu) => {
		s.binds.push({ system_id: pdu.system_id, password: pdu.password, system_type: pdu.system_type, version: pdu.interface_version });
		const status = s.bind || (pdu.password === 'hush-pwd' ? 0 : smpp.ESME_RINVPASWD);
		session.send(pdu.response({ command_status: status, system_id: 'NPM' }), () => {
			if (status) session.close();
		});
		session.isBound = !status;
	});
	session.on('enquire_link', (pdu) => session.send(pdu.response()));
	session.on('unbind', (pdu) => session.send(pdu.response(), () => session.close()));
	session.on('submit_sm', (pdu) => {
		const { take, answer, status, cut } = s.order;
		let id = '';
		if (take) {
			id = 'npm-' + (s.submits.length + 1);
			const text = pdu.message_payload || pdu.short_message;
			const udh = (text.udh || []).find((e) => e[0] === 0);
			s.submits.push({
				id, from: pdu.source_addr, to: pdu.destination_addr, body: text.message,
				source_ton: pdu.source_addr_ton, dest_ton: pdu.dest_addr_ton,
				registered: pdu.registered_delivery, coding: pdu.data_coding,
				minutes: pdu.validity_period ? Math.round((pdu.validity_period - Date.now()) / 60000) : 0,
				reference: pdu.user_message_reference || 0,
				ref: udh ? udh[2] : pdu.sar_msg_ref_num || 0,
				total: udh ? udh[3] : pdu.sar_total_segments || 1,
				seq: udh ? udh[4] : pdu.sar_segment_seqnum || 1,
			});
		}
		if (answer) session.send(pdu.response({ command_status: status, message_id: id }));
		if (cut) session.destroy();
	});
}

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
	const c = JSON.parse(line);
	commands[c.do](c, (result) => process.stdout.write(JSON.stringify({ n: c.n, ...result }) + '\n'));
}).on('close', () => process.exit(0));
