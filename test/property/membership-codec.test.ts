import { describe, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import { canonicalHost, hostBytes, hostFromBytes } from "../../ring/membership/address.ts";
import { DecodeError } from "../../ring/membership/decode-error.ts";
import type { NodeState, PushPull, StreamMessage, SwimMessage, Versions } from "../../ring/membership/messages.ts";
import { decodeMsgpack, encodeMsgpack } from "../../ring/membership/msgpack.ts";
import { messageBytes } from "../../ring/membership/sizes.ts";
import { encodeStream, StreamDecoder } from "../../ring/membership/stream.ts";
import { decodeTags, encodeTags } from "../../ring/membership/tags.ts";
import { decodeMessage, decodePacket, encodeMessage, encodePackets } from "../../ring/membership/wire.ts";
import { fc } from "../arbitrary.ts";

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/).map(parseNodeName);
const unsigned = fc.integer({ min: 0, max: 0xffff_ffff });
const host = fc
  .oneof(fc.ipV4(), fc.ipV6())
  .map((text) => canonicalHost(text)!)
  .filter((text) => text !== "0.0.0.0" && text !== "::");
const address = fc.record({ host, port: fc.integer({ min: 1, max: 65_535 }) });
const blob = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => new Uint8Array(bytes));
const source = fc.record({ address, name }, { requiredKeys: ["address"] });
const version = fc.integer({ min: 0, max: 255 });
const versions: fc.Arbitrary<Versions> = fc.tuple(version, version, version, version, version, version);
const message: fc.Arbitrary<SwimMessage> = fc.oneof(
  fc.record(
    { type: fc.constant("ping" as const), sequence: unsigned, node: name, source },
    { requiredKeys: ["type", "sequence"] },
  ),
  fc.record(
    {
      type: fc.constant("indirect-ping" as const),
      sequence: unsigned,
      target: address,
      node: name,
      nack: fc.boolean(),
      source,
    },
    { requiredKeys: ["type", "sequence", "target", "nack"] },
  ),
  fc.record(
    { type: fc.constant("ack" as const), sequence: unsigned, payload: blob(200).filter(({ length }) => length > 0) },
    { requiredKeys: ["type", "sequence"] },
  ),
  fc.record({ type: fc.constant("nack" as const), sequence: unsigned }),
  fc.record({
    type: fc.constantFrom("suspect" as const, "dead" as const),
    incarnation: unsigned,
    node: name,
    from: name,
  }),
  fc.record({
    type: fc.constant("alive" as const),
    incarnation: unsigned,
    node: name,
    address,
    meta: blob(512),
    versions,
  }),
  fc.record({ type: fc.constant("user" as const), payload: blob(300) }),
);
const nodeState: fc.Arbitrary<NodeState> = fc.record({
  name,
  address,
  meta: blob(512),
  incarnation: unsigned,
  state: fc.constantFrom("alive", "suspect", "dead", "left"),
  versions,
});
const pushPull: fc.Arbitrary<PushPull> = fc.record({
  type: fc.constant("push-pull" as const),
  join: fc.boolean(),
  nodes: fc.array(nodeState, { maxLength: 8 }),
  userState: blob(100),
});
const stream: fc.Arbitrary<StreamMessage> = fc.oneof(
  pushPull,
  fc.record({ type: fc.constant("user" as const), payload: blob(300) }),
  fc.record({ type: fc.constant("error" as const), text: fc.stringMatching(/^[ -~]{0,40}$/) }),
  fc.record({ type: fc.constant("ack" as const), sequence: unsigned }),
  fc.record({ type: fc.constant("ping" as const), sequence: unsigned, node: name }),
);

describe("msgpack", () => {
  const leaf = fc.oneof(
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.integer({ min: -40_000, max: 70_000 }),
    fc.double({ noNaN: true }),
    fc.string({ unit: "grapheme", maxLength: 80 }),
    blob(80),
    fc.constant(undefined),
  );
  const tree = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      leaf,
      fc.array(tie("value"), { maxLength: 20 }),
      fc.dictionary(fc.string({ maxLength: 12 }), tie("value"), { maxKeys: 20 }),
    ),
  })).value;

  test("what is written in the modern dialect is read back, text as text and bytes as bytes", () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(decodeMsgpack(encodeMsgpack(value, MODERN), MODERN)).toEqual(value);
      }),
    );
  });

  test("equal values give equal bytes in whatever order their keys were set", () => {
    expect(encodeMsgpack({ b: 1, a: { d: 2, c: 3 } }, MODERN)).toEqual(
      encodeMsgpack({ a: { c: 3, d: 2 }, b: 1 }, MODERN),
    );
    expect(encodeMsgpack(new Map([["b", 1], ["a", 2]]), MODERN)).toEqual(encodeMsgpack({ a: 2, b: 1 }, MODERN)); // biome-ignore format: one line
  });

  test("integers take their smallest form, unsigned when not negative", () => {
    const heads = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1]; // biome-ignore format: one line
    expect(heads.map((value) => encodeMsgpack(value, MODERN)[0]!.toString(16))).toEqual(
      ["0", "7f", "cc", "cc", "cd", "cd", "ce", "ce", "cf", "cf", "ff", "e0", "d0", "d0", "d1", "d1", "d2", "d2", "d3", "d3"], // biome-ignore format: one line
    );
    for (const value of heads) expect(decodeMsgpack(encodeMsgpack(value, MODERN), MODERN)).toBe(value);
  });

  test("the memberlist dialect writes raw only, and reads raw, str and bin alike", () => {
    expect(encodeMsgpack("x".repeat(40), MEMBERLIST)[0]).toBe(0xda);
    expect(encodeMsgpack(new Uint8Array(3), MEMBERLIST)[0]).toBe(0xa3);
    for (const bytes of [encodeMsgpack("abc", MODERN), encodeMsgpack(Uint8Array.of(97, 98, 99), MODERN)])
      expect(decodeMsgpack(bytes, MEMBERLIST)).toEqual(Uint8Array.of(97, 98, 99));
  });

  test("undefined fields are left out, also on reading nil", () => {
    expect(
      Object.keys(decodeMsgpack(encodeMsgpack({ a: undefined, b: null, c: 0 }, MODERN), MODERN) as object),
    ).toEqual(["c"]);
  });

  test("a key named __proto__ stays a key", () => {
    const bytes = encodeMsgpack(new Map([["__proto__", { evil: true }]]), MODERN);
    const value = decodeMsgpack(bytes, MODERN) as { evil?: boolean };
    expect(value.evil).toBeUndefined();
    expect(Object.hasOwn(value, "__proto__")).toBe(true);
  });

  test("too deep, too long and too many is refused, and a decoded blob shares no memory", () => {
    expect(() => decodeMsgpack(new Uint8Array(100_000).fill(0x91), MODERN)).toThrow(DecodeError);
    expect(() => decodeMsgpack(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff), MODERN)).toThrow(DecodeError);
    expect(() => decodeMsgpack(Uint8Array.of(0xc6, 0xff, 0xff, 0xff, 0xff), MODERN)).toThrow(DecodeError);
    const buffer = Buffer.from(encodeMsgpack(Uint8Array.of(1, 2, 3), MODERN));
    const blobRead = decodeMsgpack(buffer, MODERN);
    buffer.fill(9);
    expect(blobRead).toEqual(Uint8Array.of(1, 2, 3));
  });

  test("random bytes throw nothing but the decode error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(MODERN, MEMBERLIST), (bytes, options) => {
        onlyDecodeErrors(() => decodeMsgpack(bytes, options));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("packets", () => {
  test("a message that is written is read back, and is never longer than was reckoned", () => {
    fc.assert(
      fc.property(message, (written) => {
        const bytes = encodeMessage(written);
        expect(decodeMessage(bytes)).toEqual(written);
        expect(bytes.length).toBeLessThanOrEqual(messageBytes(written));
        expect(bytes.length).toBeGreaterThan(messageBytes(written) - 64);
      }),
      { numRuns: 500 },
    );
  });

  test("messages in packets arrive in order, within the byte limit, at most 255 in each", () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 40 }), fc.boolean(), (messages, checksum) => {
        const packets = encodePackets(messages, { checksum, byteLimit: 1_400 });
        for (const packet of packets) expect(packet.length).toBeLessThanOrEqual(1_400);
        expect(packets.flatMap((packet) => decodePacket(packet).messages)).toEqual(messages);
      }),
    );
    const nacks = Array.from({ length: 600 }, (): SwimMessage => ({ type: "nack", sequence: 1 }));
    const packets = encodePackets(nacks, { checksum: false, byteLimit: 60_000 });
    expect(packets.map((packet) => packet[1])).toEqual([255, 255, 90]);
  });

  test("a packet cut at any byte gives its whole parts, counts the rest and never throws", () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 2, maxLength: 5 }), (messages) => {
        const packet = encodePackets(messages, { checksum: false, byteLimit: 60_000 })[0]!;
        for (let length = 0; length < packet.length; length++) {
          const { messages: read, drops } = decodePacket(packet.subarray(0, length));
          expect(read).toEqual(messages.slice(0, read.length));
          expect(drops.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 20 },
    );
  });

  test("a checksummed packet with any flipped bit is dropped", () => {
    fc.assert(
      fc.property(message, fc.nat(), (written, seed) => {
        const packet = encodePackets([written], { checksum: true, byteLimit: 1_400 })[0]!;
        const bit = 8 + (seed % (8 * (packet.length - 1)));
        packet[bit >> 3]! ^= 1 << (bit & 7);
        expect(decodePacket(packet)).toMatchObject({ messages: [], drops: ["bad-checksum"] });
      }),
    );
  });

  test("random and mutated bytes never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 14 }), (bytes, type) => {
        if (bytes.length > 0) bytes[0] = type;
        decodePacket(bytes);
      }),
      { numRuns: 3_000 },
    );
    fc.assert(
      fc.property(message, fc.nat(), fc.integer({ min: 0, max: 255 }), (written, at, byte) => {
        const bytes = encodeMessage(written);
        bytes[at % bytes.length] = byte;
        decodePacket(bytes);
      }),
      { numRuns: 2_000 },
    );
  });

  test("nested compounds end at a depth", () => {
    let packet = encodeMessage({ type: "nack", sequence: 1 });
    for (let depth = 0; depth < 20; depth++)
      packet = Uint8Array.of(7, 1, packet.length >> 8, packet.length & 0xff, ...packet);
    expect(decodePacket(packet)).toMatchObject({ messages: [], drops: ["too-large"] });
  });

  test("structs written as arrays, in another order or with unknown keys are read", () => {
    const suspect = { type: "suspect", incarnation: 7, node: "b", from: "a" };
    const asArray = encodeMsgpack([7, "b", "a"], MODERN);
    const asMap = encodeMsgpack({ Zebra: [1, 2], Node: "b", Incarnation: 7, From: "a" }, MODERN);
    for (const body of [asArray, asMap]) expect(decodeMessage(Uint8Array.of(3, ...body))).toEqual(suspect);
  });

  test("a ping without any field reads as zeros, an accusation of nobody is refused", () => {
    expect(decodeMessage(Uint8Array.of(0, 0x80))).toEqual({ type: "ping", sequence: 0 });
    expect(() => decodeMessage(Uint8Array.of(3, 0x80))).toThrow(DecodeError);
  });

  test.each([6, 10, 13, 12, 244, 99])("type %i has no business in a UDP packet", (type) => {
    const { messages, drops } = decodePacket(Uint8Array.of(7, 1, 0, 2, type, 0x80));
    expect(messages).toEqual([]);
    expect(["unknown-type", "unsupported"]).toContain(drops[0]);
  });
});

describe("streams", () => {
  test("what is written is read back, whatever the chunks", () => {
    fc.assert(
      fc.property(stream, fc.integer({ min: 1, max: 300 }), (written, chunkBytes) => {
        const bytes = encodeStream(written);
        const decoder = new StreamDecoder();
        for (let at = 0; at < bytes.length; at += chunkBytes) {
          const read = decoder.push(bytes.subarray(at, at + chunkBytes));
          if (at + chunkBytes < bytes.length) expect(read).toBeUndefined();
          else expect(read).toEqual(written);
        }
      }),
    );
  });

  test("random bytes throw nothing but the decode error, and hold nothing huge", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.constantFrom(0, 2, 6, 8, 9, 10, 13, 244),
        (bytes, type) => {
          bytes[0] = type;
          const decoder = new StreamDecoder();
          onlyDecodeErrors(() => decoder.push(bytes));
          expect(decoder.byteLength).toBeLessThan(10_000);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("a push/pull that announces too much is refused at its header", () => {
    const header = (fields: object) => Uint8Array.of(6, ...encodeMsgpack(fields, MEMBERLIST));
    for (const fields of [{ Nodes: 2 ** 20 }, { Nodes: 0, UserStateLen: 2 ** 31 }, { Nodes: -1 }])
      expect(() => new StreamDecoder().push(header(fields))).toThrow(
        expect.objectContaining({ reason: "out-of-range" }),
      );
  });

  test("a node with an impossible name or address costs only itself", () => {
    fc.assert(
      fc.property(nodeState, (good) => {
        const decoder = new StreamDecoder();
        const nodes = [good, { ...good, name: "no spaces, please" as NodeState["name"] }, { ...good, address: { host: "0.0.0.0", port: 1 } }, good]; // biome-ignore format: one line
        const read = decoder.push(encodeStream({ type: "push-pull", join: true, nodes, userState: new Uint8Array(2) }));
        expect(read).toMatchObject({ nodes: [good, good] });
        expect(decoder.dropped).toBe(2);
      }),
      { numRuns: 20 },
    );
  });
});

describe("tags and addresses", () => {
  test("tags come back, and too many are refused", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ maxLength: 8 }), fc.string({ maxLength: 16 }), { maxKeys: 8 }),
        (record) => {
          const tags = new Map(Object.entries(record));
          expect(decodeTags(encodeTags(tags))).toEqual(tags);
        },
      ),
    );
    expect(() => encodeTags(new Map([["k", "x".repeat(520)]]))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  test("meta that is no tag map gives no tags, or an old serf's role", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (meta) => void decodeTags(meta)));
    expect(decodeTags(new TextEncoder().encode("web"))).toEqual(new Map([["role", "web"]]));
    expect(decodeTags(Uint8Array.of(255, 0x81, 0xa1))).toEqual(new Map());
  });

  test("an IPv4 address is four bytes, also when it came in sixteen", () => {
    expect(hostBytes("127.77.0.3")).toEqual(Uint8Array.of(127, 77, 0, 3));
    expect(hostBytes("::ffff:127.77.0.3")).toEqual(Uint8Array.of(127, 77, 0, 3));
    expect(hostFromBytes(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 77, 0, 3))).toBe("127.77.0.3");
    expect(() => hostFromBytes(new Uint8Array(5))).toThrow(DecodeError);
  });
});

function onlyDecodeErrors(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError);
  }
}

const MODERN = { dialect: "modern" } as const;
const MEMBERLIST = { dialect: "memberlist" } as const;
