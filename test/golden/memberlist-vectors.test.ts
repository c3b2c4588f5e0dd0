/**
 * Packets captured from serf 0.9.4: they must read as serf meant them, and what we write must be what serf wrote.
 * Compressed ones (`compress` in the path) are read but never written.
 */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { hostBytes } from "../../ring/membership/address.ts";
import { crc32 } from "../../ring/membership/crc32.ts";
import type { StreamMessage, SwimMessage } from "../../ring/membership/messages.ts";
import { encodeStream, StreamDecoder } from "../../ring/membership/stream.ts";
import { decodeMessage, decodePacket, encodeMessage, encodePackets } from "../../ring/membership/wire.ts";

interface Vector {
  readonly transport: "udp" | "tcp";
  readonly path: string;
  readonly hex: string;
  readonly inner: string;
  readonly decoded: Record<string, unknown>;
}

const VECTORS = JSON.parse(
  readFileSync(new URL("../fixtures/memberlist-vectors.json", import.meta.url), "utf8"),
) as readonly Vector[];
const UDP = VECTORS.filter(({ transport }) => transport === "udp");
const TCP = VECTORS.filter(({ transport }) => transport === "tcp");

test("there are 20 packets and 2 streams", () => {
  expect([UDP.length, TCP.length]).toEqual([20, 2]);
});

test.each(UDP.map((vector, index) => ({ ...vector, index })))(
  "vector $index ($path) reads as serf meant it",
  (vector) => {
    const message = decodeMessage(bytesOf(vector.inner));
    if (message.type === "user") expect(message.payload[0]).toBe(vector.decoded.serfType);
    else expect(asGoFields(message)).toEqual(withoutCase(vector.decoded));
  },
);

test.each(UDP.map((vector, index) => ({ ...vector, index })))(
  "vector $index ($path) is written back byte by byte",
  (vector) => {
    expect(hexOf(encodeMessage(decodeMessage(bytesOf(vector.inner))))).toBe(vector.inner);
  },
);

test.each(UDP.map((vector, index) => ({ ...vector, index })))("packet $index ($path) holds that message", (vector) => {
  const packet = decodePacket(bytesOf(vector.hex));
  expect(packet.drops).toEqual([]);
  expect(packet.messages).toContainEqual(decodeMessage(bytesOf(vector.inner)));
  if (vector.path.includes("compress")) return;
  const checksum = vector.path.startsWith("crc");
  expect(encodePackets(packet.messages, { checksum, byteLimit: 1_400 }).map(hexOf)).toEqual([vector.hex]);
});

test.each(TCP)("a captured stream ($decoded.header) reads as serf meant it, in chunks of any size", (vector) => {
  const whole = bytesOf(vector.inner);
  const header = vector.decoded.header as { Join: boolean; Nodes: number; UserStateLen: number };
  for (const chunkBytes of [1, 7, 64, whole.length]) {
    const message = pushInChunks(whole, chunkBytes);
    if (message?.type !== "push-pull") throw new Error("no push/pull");
    expect(message.join).toBe(header.Join);
    expect(message.userState.length).toBe(header.UserStateLen);
    expect(message.nodes.map(asGoFields)).toEqual((vector.decoded.nodes as Record<string, unknown>[]).map(withoutCase));
    expect(hexOf(encodeStream(message))).toBe(vector.inner);
  }
});

test("a captured stream as serf sent it, compressed, holds the same, in chunks of any size", () => {
  for (const vector of TCP)
    for (const chunkBytes of [1, 64, vector.hex.length])
      expect(pushInChunks(bytesOf(vector.hex), chunkBytes)).toEqual(
        pushInChunks(bytesOf(vector.inner), vector.inner.length),
      );
});

test("the checksum of '123456789' is the published one", () => {
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf4_3926);
});

function pushInChunks(whole: Uint8Array, chunkBytes: number): StreamMessage | undefined {
  const decoder = new StreamDecoder();
  for (let at = 0; at < whole.length; at += chunkBytes) {
    const message = decoder.push(whole.subarray(at, at + chunkBytes));
    if (message !== undefined) {
      expect(at + chunkBytes).toBeGreaterThanOrEqual(whole.length);
      return message;
    }
  }
  return undefined;
}

/** Our names back to serf's, so that each vector is compared with what was recorded. */
function asGoFields(value: object): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value as SwimMessage)) {
    if (key === "type") continue;
    const name = GO_NAMES[key] ?? key;
    if (key === "address" || key === "target") {
      const address = item as { host: string; port: number };
      fields[key === "target" ? "target" : "addr"] = `0x${hexOf(hostBytes(address.host))}`;
      fields.port = address.port;
    } else if (key === "source") {
      const source = item as { name?: string; address: { host: string; port: number } };
      fields.sourceaddr = `0x${hexOf(hostBytes(source.address.host))}`;
      fields.sourceport = source.address.port;
      fields.sourcenode = source.name;
    } else if (key === "state") fields.state = ["alive", "suspect", "dead", "left"].indexOf(item as string);
    else if (item instanceof Uint8Array) fields[name] = `0x${hexOf(item)}`;
    else if (Array.isArray(item)) fields[name] = `0x${hexOf(Uint8Array.from(item))}`;
    else fields[name] = item;
  }
  return fields;
}

function withoutCase(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key.toLowerCase(), value]));
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

const GO_NAMES: Record<string, string> = { sequence: "seqno", versions: "vsn" };
