/**
 * A store that all nodes of the ring share, as one node uses it: opened, with a lease in it, and known again after a
 * restart by the id that is kept in the data directory.
 */

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import * as v from "valibot";
import type { RingDocument } from "../../ring/document.ts";
import { RingError } from "../../ring/errors.ts";
import { type DataDirectory, SHARED_STORE_FILE } from "../../ring/io/directory.ts";
import { readFileIfThere, replaceFile } from "../../ring/io/files.ts";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { SeatStore } from "../../ring/io/seats.ts";
import { checkStoreId, openLeaseLink, RedisLease } from "../../ring/io/store/redis/lease.ts";
import { RedisSeat } from "../../ring/io/store/redis/seat.ts";
import { openRedisStore, type RedisStore } from "../../ring/io/store/redis/store.ts";
import type { HostLog } from "./log.ts";

export interface SharedStore extends AsyncDisposable {
  readonly store: RedisStore;
  /** Resolves with the first lease: by then it is certain that the store is this ring's. */
  readonly granted: Promise<void>;
  /** The epoch for which an earlier process gave everything up. */
  readonly givenFor: number | undefined;
  readonly seats: SeatStore;
  /** Keeps the lease from now on, and tells the node of it. */
  serve(node: NodeDriver, document: () => RingDocument | undefined): void;
}

export async function openSharedStore(options: {
  readonly address: string;
  readonly directory: DataDirectory;
  readonly log: HostLog;
  readonly leaseMs: number;
}): Promise<SharedStore> {
  const { address, directory, log, leaseMs } = options;
  const path = join(directory.path, SHARED_STORE_FILE);
  const bytes = await readFileIfThere(path);
  const known = bytes === undefined ? undefined : readKnown(path, bytes);
  const given = Number((await directory.readMarker("given-up"))?.detail);
  const store = await openRedisStore({ address, name: directory.name, log });
  try {
    if (known !== undefined) await checkStoreId(store.link, store.address.prefix, known);
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
  let lease: RedisLease | undefined;
  const link = openLeaseLink(store.address, directory.name);
  const seats = new RedisSeat(link, { prefix: store.address.prefix, name: directory.name, id: directory.id });
  const fresh = randomBytes(16).toString("hex");
  let grant: () => void = () => undefined;
  const granted = new Promise<void>((resolve) => {
    grant = resolve;
  });
  return {
    store,
    granted,
    seats,
    givenFor: Number.isInteger(given) ? given : undefined,
    serve: (node, document) => {
      lease = new RedisLease({
        address: store.address,
        link,
        member: directory.name,
        memberId: directory.id,
        leaseMs,
        storeId: known,
        ringId: () => document()?.ringId,
        newStoreId: () => (document()?.epoch === 1 ? fresh : undefined),
        remember: (id) =>
          replaceFile(path, { content: async () => Buffer.from(`${JSON.stringify({ version: 1, store: id })}\n`) }),
        onLease: (heldUntil, others, seat) => {
          grant();
          node.step({ type: "store-lease", heldUntil, others, ...(seat === undefined ? {} : { seat }) });
        },
        onBroken: (error) => {
          store.break(error);
          node.step({ type: "store-broken", detail: `${error.code}: ${error.message}` });
        },
        log,
      });
      lease.start();
    },
    async [Symbol.asyncDispose]() {
      seats.close();
      await lease?.[Symbol.asyncDispose]();
      link.close();
      await store[Symbol.asyncDispose]();
    },
  };
}

function readKnown(path: string, bytes: Uint8Array): string {
  try {
    return v.parse(KNOWN, JSON.parse(new TextDecoder().decode(bytes))).store;
  } catch (error) {
    throw new RingError("STORE_BROKEN", `${path} is damaged`, { cause: error });
  }
}

const KNOWN = v.object({ version: v.literal(1), store: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)) });
