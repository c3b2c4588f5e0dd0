/**
 * Channels and submit streams to the nodes, by address. A node that fails is left alone for a while, longer each time.
 *
 * L1  What stays open has a connection of its own: as many streams as a node takes of one (256) would keep every call from its turn.
 */

import type { ChannelCredentials, Client, Metadata, ServiceError } from "@grpc/grpc-js";
import { RingError } from "../../ring/errors.ts";
import { openChannel, ringErrorOf } from "./connection.ts";
import type { Entry } from "./entry.ts";
import { NodeStream, type NodeStreamOptions } from "./node-stream.ts";

export interface LinksOptions {
  readonly credentials: ChannelCredentials;
  readonly metadata: () => Metadata;
  readonly clientId: string;
  readonly callbacks: () => Pick<NodeStreamOptions, "nextFrameId" | "onOutcome" | "onTurn" | "onRing">;
  readonly onStreamDown: (entries: readonly Entry[], fatal: RingError | undefined) => void;
}

/** A channel for streams that stay open (L1). */
export interface Lasting {
  readonly client: Client;
  /** Before a stream is opened; what it returns is called when that is over. Throws `RATE_LIMITED` where too many are open. */
  take(): () => void;
}

interface Link {
  readonly client: Client;
  lasting: OpenStreams | undefined;
  stream: NodeStream | undefined;
  failures: number;
  /** By `performance.now()`; no stream is opened before. */
  restUntil: number;
}

export class Links {
  readonly #options: LinksOptions;
  readonly #links = new Map<string, Link>();
  #closed = false;

  constructor(options: LinksOptions) {
    this.#options = options;
  }

  /** Throws `CANCELLED` once closed. */
  channel(address: string): Client {
    if (this.#closed) throw new RingError("CANCELLED", "the client is closed");
    return this.#link(address).client;
  }

  /** Throws `CANCELLED` once closed. */
  lasting(address: string): Lasting {
    if (this.#closed) throw new RingError("CANCELLED", "the client is closed");
    const link = this.#link(address);
    link.lasting ??= new OpenStreams(address, openChannel(address, this.#options.credentials));
    return link.lasting;
  }

  /** The node's submit stream, opened if need be; undefined while the node is left alone. */
  stream(address: string): NodeStream | undefined {
    const link = this.#link(address);
    if (link.stream !== undefined) return link.stream;
    if (performance.now() < link.restUntil) return undefined;
    const { clientId, metadata } = this.#options;
    const callbacks = this.#options.callbacks();
    const stream = new NodeStream({
      client: link.client,
      clientId,
      metadata,
      ...callbacks,
      onTurn: () => {
        link.failures = 0;
        callbacks.onTurn();
      },
      onDown: (error, entries) => {
        link.stream = undefined;
        link.restUntil = performance.now() + Math.min(REST_MOST_MS, REST_FIRST_MS * 2 ** Math.min(link.failures, 10));
        link.failures += 1;
        this.#options.onStreamDown(entries, fatalOf(error));
      },
    });
    link.stream = stream;
    return stream;
  }

  /** The node's submit stream if one is open. */
  openStream(address: string): NodeStream | undefined {
    return this.#links.get(address)?.stream;
  }

  /** Closes what leads to addresses that are no longer known; a link that holds tasks stays until they have an outcome. */
  prune(keep: ReadonlySet<string>): void {
    for (const [address, link] of this.#links) {
      if (keep.has(address) || link.stream?.idle === false) continue;
      this.#close(link);
      this.#links.delete(address);
    }
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#links.values()) this.#close(link);
    this.#links.clear();
  }

  #link(address: string): Link {
    let link = this.#links.get(address);
    if (link === undefined) {
      const client = openChannel(address, this.#options.credentials);
      link = { client, lasting: undefined, stream: undefined, failures: 0, restUntil: 0 };
      this.#links.set(address, link);
    }
    return link;
  }

  #close(link: Link): void {
    link.stream?.close();
    link.lasting?.client.close();
    link.client.close();
  }
}

class OpenStreams implements Lasting {
  readonly client: Client;
  readonly #address: string;
  #open = 0;

  constructor(address: string, client: Client) {
    this.#address = address;
    this.client = client;
  }

  take(): () => void {
    // One more would not fail: it would wait, without a word, until another ends.
    if (this.#open >= STREAMS_MOST)
      throw new RingError(
        "RATE_LIMITED",
        `${STREAMS_MOST} watches, runs and other streams to ${this.#address} are open: end one, or use another client`,
      );
    this.#open++;
    let isOver = false;
    return () => {
      if (!isOver) this.#open--;
      isOver = true;
    };
  }
}

/** An error that trying again does not cure. */
function fatalOf(error: Error): RingError | undefined {
  if (!("code" in error)) return undefined;
  const ring = ringErrorOf(error as ServiceError);
  const final =
    ring.code === "INVALID_ARGUMENT" ||
    ring.code === "UNAUTHENTICATED" ||
    ring.code === "FORBIDDEN" ||
    ring.code === "UNIMPLEMENTED";
  return final ? new RingError(ring.code, ring.message, { cause: error }) : undefined;
}

/** What a node takes of one connection (services/api/limits.ts). */
const STREAMS_MOST = 256;
const REST_FIRST_MS = 50;
const REST_MOST_MS = 1_000;
