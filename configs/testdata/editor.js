// An editor, as far as YAML goes: opens files with yaml-language-server and asks for
// what is wrong with them and what may be written at a place.
const { spawn } = require("child_process");
const path = require("path");
const rpc = require("vscode-jsonrpc/node");

async function main() {
  let input = "";
  for await (const part of process.stdin) input += part;
  const { server, files } = JSON.parse(input);
  const child = spawn(process.execPath, [path.join(server, "node_modules/yaml-language-server/bin/yaml-language-server"), "--stdio"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const c = rpc.createMessageConnection(new rpc.StreamMessageReader(child.stdout), new rpc.StreamMessageWriter(child.stdin));
  const told = new Map();
  c.onNotification("textDocument/publishDiagnostics", (p) => {
    const wait = told.get(p.uri);
    if (wait) wait(p.diagnostics);
  });
  c.onRequest("workspace/configuration", (p) => p.items.map((i) => (i.section === "yaml" ? { validate: true, completion: true, schemaStore: { enable: false } } : {})));
  c.onRequest("client/registerCapability", () => null);
  c.listen();
  await c.sendRequest("initialize", {
    processId: process.pid, rootUri: null,
    capabilities: { textDocument: { completion: { completionItem: { snippetSupport: false } }, publishDiagnostics: {} }, workspace: { configuration: true } },
  });
  c.sendNotification("initialized", {});
  c.sendNotification("workspace/didChangeConfiguration", { settings: { yaml: { validate: true, completion: true, schemaStore: { enable: false } } } });
  const out = [];
  for (const f of files) {
    const uri = "file://" + f.path;
    const diagnostics = new Promise((done) => told.set(uri, done));
    c.sendNotification("textDocument/didOpen", { textDocument: { uri, languageId: "yaml", version: 1, text: f.text } });
    const found = (await diagnostics).map((d) => ({ line: d.range.start.line + 1, message: d.message }));
    let labels = [];
    if (f.complete) {
      const list = await c.sendRequest("textDocument/completion", { textDocument: { uri }, position: f.complete });
      labels = (list.items || list).map((i) => i.label);
    }
    let hover = "";
    if (f.hover) {
      const h = await c.sendRequest("textDocument/hover", { textDocument: { uri }, position: f.hover });
      hover = h ? JSON.stringify(h.contents) : "";
    }
    out.push({ found, labels, hover });
  }
  child.kill();
  process.stdout.write(JSON.stringify(out));
  process.exit(0);
}
main().catch((e) => {
  console.error(e);
  process.exit(1);
});
