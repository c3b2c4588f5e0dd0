/** The official health and reflection services keep nothing for a stranger: neither names of his, nor answers that he does not take. */

import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { addHealth } from "../../../services/api/health.ts";
import { addReflection } from "../../../services/api/reflection.ts";

const open: (() => void)[] = [];

afterEach(() => {
  for (const close of open.splice(0)) close();
});

test("names that were watched are forgotten, whatever their number and length", async () => {
  const server = new Server();
  const health = addHealth(server, ["", "liveness"]);
  const session = await sessionOf(server);
  for (let at = 0; at < 20; at++) {
    const watch = await ask(session, "/grpc.health.v1.Health/Watch", `${at}`.padEnd(100_000, "x"));
    expect((await once(watch, "data"))[0]).toEqual(frameOf(Buffer.from([8, SERVICE_UNKNOWN])));
    watch.close();
  }
  const served = await ask(session, "/grpc.health.v1.Health/Watch", "liveness");
  expect((await once(served, "data"))[0]).toEqual(frameOf(Buffer.from([8, SERVING])));
  const { watchers } = health as unknown as { readonly watchers: ReadonlyMap<string, unknown> };
  expect([...watchers.keys()]).toEqual(["liveness"]);
});

test("the health of a name as long as a message is answered", async () => {
  const server = new Server();
  addHealth(server, ["", "liveness"]);
  const check = await ask(await sessionOf(server), "/grpc.health.v1.Health/Check", "x".repeat(3_000_000));
  const [headers] = (await once(check, "response")) as [Record<string, unknown>];
  expect(headers["grpc-status"]).toBe("5");
});

test("reflection is not read on while its answers are not taken", async () => {
  const server = new Server();
  addReflection(server);
  const stream = (await sessionOf(server)).request({
    ":method": "POST",
    ":path": "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  const one = frameOf(Buffer.concat([Buffer.from([4 * 8 + 2, 17]), Buffer.from("taskring.v1.Tasks")]));
  const many = Buffer.concat(Array<Buffer>(2_000).fill(one));
  let sent = 0;
  while (sent < 200 && (await taken(stream, many))) sent++;
  expect(sent).toBeLessThan(100);
  // Reading goes on when they are.
  stream.resume();
  await once(stream, "drain");
}, 20_000);

/** False: there was no room for it in a second. */
async function taken(stream: ClientHttp2Stream, bytes: Buffer): Promise<boolean> {
  if (stream.write(bytes)) return true;
  const signal = AbortSignal.timeout(1_000);
  return await once(stream, "drain", { signal }).then(
    () => true,
    () => false,
  );
}

async function sessionOf(server: Server): Promise<ClientHttp2Session> {
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  open.push(
    () => session.destroy(),
    () => server.forceShutdown(),
  );
  await once(session, "connect");
  return session;
}

async function ask(session: ClientHttp2Session, path: string, service: string): Promise<ClientHttp2Stream> {
  const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
  stream.on("error", () => {});
  const length: number[] = [];
  let rest = service.length;
  for (; rest >= 128; rest = Math.trunc(rest / 128)) length.push((rest % 128) + 128);
  stream.end(frameOf(Buffer.concat([Buffer.from([10, ...length, rest]), Buffer.from(service)])));
  return stream;
}

function frameOf(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

const SERVING = 1;
const SERVICE_UNKNOWN = 3;
