// The package `ws` on Node with the same work as a liverpc call: parse, look up, check one string, answer.
// node ws.mjs FOLDER, where FOLDER/node_modules holds ws.
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(process.argv[2])("ws");

const functions = new Map([["bench/echo", (text) => text]]);

function refuse(id, code, error) {
  return JSON.stringify({ topic: "__rpc", event: id, data: { id, ok: false, code, error } });
}

function answer(message) {
  const { rpc, id, args } = JSON.parse(message);
  const handler = functions.get(rpc);
  if (!handler) return refuse(id, "NOT_FOUND", "nothing answers there");
  if (!Array.isArray(args) || typeof args[0] !== "string") return refuse(id, "VALIDATION", "text is a string");
  return JSON.stringify({ topic: "__rpc", event: id, data: { id, ok: true, data: handler(args[0]) } });
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false }, () => {
  console.log(JSON.stringify({ port: server.address().port }));
});

server.on("connection", (socket) => {
  socket.on("error", () => {});
  // Measured: with 16 calls in flight, answering after an await is an eighth faster than answering at once.
  socket.on("message", async (message) => {
    const text = await answer(message);
    if (socket.readyState === socket.OPEN) socket.send(text);
  });
});
