/**
 * The one error that decoding a peer's bytes can throw. Whoever reads from a socket catches it, counts its reason and drops
 * the bytes; it never leaves the node.
 */

export type DecodeReason =
  /** The bytes end before the value does. On a stream: more bytes are needed. */
  | "truncated"
  /** Bytes after the end of the value. */
  | "trailing"
  /** Nested deeper, longer or with more items than the limit. */
  | "too-large"
  /** A value of another type than the field has, or a type byte that msgpack does not define. */
  | "wrong-type"
  /** A number, name or address outside what the field allows. */
  | "out-of-range"
  | "bad-checksum"
  /** A message type that does not belong on this transport, or is not known. */
  | "unknown-type"
  /** Known, but this node does not speak it: another compression. */
  | "unsupported"
  /** Compressed bytes that do not unpack. */
  | "bad-compression"
  /** From another ring on the same network. */
  | "foreign-label"
  /** In clear, where this ring encrypts. */
  | "not-encrypted"
  /** None of this node's keys opens it. */
  | "undecryptable"
  /** The same encrypted packet once more. */
  | "replayed";

export class DecodeError extends Error {
  readonly reason: DecodeReason;

  constructor(reason: DecodeReason, detail: string) {
    super(detail);
    this.name = "DecodeError";
    this.reason = reason;
  }
}
