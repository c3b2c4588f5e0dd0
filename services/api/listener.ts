/**
 * The API's port: connections are counted and capped (reliability rule 12), then handed on.
 *
 * L1  A connection that has not said what every HTTP/2 client says first, its preface, is cut off after `prefaceMs`; where all
 *     places are taken, the oldest of these gives way to a new one.
 */

import { createServer, type Socket, type Server as SocketServer } from "node:net";
import type { ApiLimits } from "./limits.ts";
import type { ApiLog } from "./server.ts";

export class Listener {
  open = 0;
  refused = 0;
  readonly #server: SocketServer;
  readonly #sockets = new Set<Socket>();
  /** Those that had no preface when last looked at, by age. */
  readonly #silent = new Map<Socket, NodeJS.Timeout>();

  constructor(
    take: (socket: Socket) => void,
    limits: Pick<ApiLimits, "connections" | "prefaceMs">,
    log: Pick<ApiLog, "warn">,
  ) {
    this.#server = createServer({ noDelay: true }, (socket) => {
      if (this.open >= limits.connections) {
        this.refused += 1;
        if (this.refused === 1 || this.refused % 1_000 === 0)
          log.warn({ limit: limits.connections, refused: this.refused }, "too many gRPC connections: closed one");
        if (!this.#makeRoom()) {
          socket.destroy();
          return;
        }
      }
      this.open += 1;
      this.#sockets.add(socket);
      const cut = (): boolean | Socket => this.#spoken(socket) || socket.destroy();
      // A turn later: where a handler blocked the event loop, what has come is read first.
      this.#silent.set(socket, setTimeout(() => setImmediate(cut), limits.prefaceMs).unref());
      socket.on("error", () => socket.destroy());
      socket.once("close", () => this.#gone(socket));
      take(socket);
    });
  }

  listen(bind: { readonly host: string; readonly port: number }): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host: bind.host, port: bind.port, backlog: BACKLOG }, () => {
        this.#server.off("error", reject);
        const bound = this.#server.address();
        if (bound === null || typeof bound === "string") return reject(new Error("the listener has no address"));
        resolve(bound.address.includes(":") ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`);
      });
    });
  }

  /** Takes no more connections; those that are open stay. */
  close(): Promise<void> {
    this.#server.close();
    return Promise.resolve();
  }

  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** L1. False: all have said their preface. */
  #makeRoom(): boolean {
    for (const socket of this.#silent.keys()) {
      if (this.#spoken(socket)) continue;
      socket.destroy();
      this.#gone(socket);
      return true;
    }
    return false;
  }

  /** Whether it need not be watched any more. */
  #spoken(socket: Socket): boolean {
    if (socket.bytesRead < PREFACE_BYTES) return false;
    clearTimeout(this.#silent.get(socket));
    this.#silent.delete(socket);
    return true;
  }

  #gone(socket: Socket): void {
    if (!this.#sockets.delete(socket)) return;
    this.open -= 1;
    clearTimeout(this.#silent.get(socket));
    this.#silent.delete(socket);
  }
}

/** The 24 of the preface and an empty SETTINGS frame; with TLS the first that a client says is longer. */
const PREFACE_BYTES = 33;
const BACKLOG = 4_096;
