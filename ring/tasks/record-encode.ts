/**
 * Makes the wire bytes of a task (`taskring.v1.SubmitRequest`), for children, firings of schedules and tests.
 */

import { varintBytes, writeVarint } from "./varint.ts";

export interface RecordFields {
  readonly app: string;
  readonly type: string;
  readonly key?: string;
  readonly payload?: Uint8Array;
  readonly idempotencyKey?: string;
  readonly delayMs?: number;
  readonly deadlineMs?: number;
  readonly maxAttempts?: number;
  readonly priority?: number;
  readonly headers?: ReadonlyMap<string, string>;
  readonly id?: string;
}

/** Fields that are absent, empty or 0 are left out, as protobuf does. */
export function encodeRecord(fields: RecordFields): Uint8Array {
  const parts: { readonly tag: number; readonly bytes: Uint8Array }[] = [];
  const text = (tag: number, value: string | undefined): void => {
    if (value !== undefined && value !== "") parts.push({ tag, bytes: encoder.encode(value) });
  };
  const numbers: { readonly tag: number; readonly value: number }[] = [];
  const number = (tag: number, value: number | undefined): void => {
    if (value !== undefined && value !== 0) numbers.push({ tag, value });
  };
  text(0x0a, fields.app);
  text(0x12, fields.type);
  text(0x1a, fields.key);
  if (fields.payload !== undefined && fields.payload.length > 0) parts.push({ tag: 0x22, bytes: fields.payload });
  text(0x2a, fields.idempotencyKey);
  number(0x30, fields.delayMs);
  number(0x38, fields.deadlineMs);
  number(0x40, fields.maxAttempts);
  const priority = fields.priority ?? 0;
  number(0x48, priority >= 0 ? priority * 2 : -priority * 2 - 1);
  for (const [name, value] of fields.headers ?? []) parts.push({ tag: 0x52, bytes: headerBytes(name, value) });
  text(0x5a, fields.id);

  let length = 0;
  for (const part of parts) length += 1 + varintBytes(part.bytes.length) + part.bytes.length;
  for (const entry of numbers) length += 1 + varintBytes(entry.value);
  const wire = new Uint8Array(length);
  let at = 0;
  for (const entry of numbers) {
    wire[at++] = entry.tag;
    at = writeVarint(wire, at, entry.value);
  }
  for (const part of parts) {
    wire[at++] = part.tag;
    at = writeVarint(wire, at, part.bytes.length);
    wire.set(part.bytes, at);
    at += part.bytes.length;
  }
  return wire;
}

function headerBytes(name: string, value: string): Uint8Array {
  const nameBytes = encoder.encode(name);
  const valueBytes = encoder.encode(value);
  const bytes = new Uint8Array(
    2 + varintBytes(nameBytes.length) + nameBytes.length + varintBytes(valueBytes.length) + valueBytes.length,
  );
  bytes[0] = 0x0a;
  let at = writeVarint(bytes, 1, nameBytes.length);
  bytes.set(nameBytes, at);
  at += nameBytes.length;
  bytes[at++] = 0x12;
  at = writeVarint(bytes, at, valueBytes.length);
  bytes.set(valueBytes, at);
  return bytes;
}

const encoder = new TextEncoder();
