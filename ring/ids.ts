/**
 * Branded ids and their parsers: the only way in for a name that came from outside.
 */

import { RingError } from "./errors.ts";

declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A member's name: unique in the ring, chosen by the operator. 1 to 63 of `a-z 0-9 . _ -`, upper case too. */
export type NodeName = Brand<string, "NodeName">;
/** Made at random with a data directory; a known name with another id is another member (ownership rule 4). */
export type MemberId = Brand<string, "MemberId">;
/** Made at random when a ring is founded; carried by every message between nodes. */
export type RingId = Brand<string, "RingId">;
/** An app (tenant): `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`. */
export type AppName = Brand<string, "AppName">;
/** 0 to ringSize - 1. */
export type Partition = Brand<number, "Partition">;
/** Version of the ring; epoch e+1 is decided by the voters of epoch e. */
export type Epoch = Brand<number, "Epoch">;

const APP = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const NODE = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})?$/;

export function isAppName(text: string): text is AppName {
  return APP.test(text);
}

/** Throws `APP_NAME_INVALID`. */
export function parseAppName(text: string): AppName {
  if (!isAppName(text))
    throw new RingError(
      "APP_NAME_INVALID",
      `app name ${JSON.stringify(text.slice(0, 80))} does not match ${APP.source}`,
    );
  return text;
}

/** Throws `INVALID_ARGUMENT`. */
export function parseNodeName(text: string): NodeName {
  if (!NODE.test(text))
    throw new RingError(
      "INVALID_ARGUMENT",
      `node name ${JSON.stringify(text.slice(0, 80))} does not match ${NODE.source}`,
    );
  return text as NodeName;
}
