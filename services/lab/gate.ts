/** A TCP relay on a port that the system chose: cuts one client off from a server, in silence or at once, and heals. */

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class Gate implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut = false;

  static async open(to: { readonly host: string; readonly port: number }): Promise<Gate> {
    const gate = new Gate(to);
    gate.#server.listen(0, "127.0.0.1");
    await once(gate.#server, "listening");
    return gate;
  }

  constructor(to: { readonly host: string; readonly port: number }) {
    this.#server = createServer({ pauseOnConnect: true }, (client) => {
      const upstream = connect({ ...to, noDelay: true });
      client.setNoDelay(true);
      for (const [from, into] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        this.#sockets.add(from);
        from.on("data", (bytes) => {
          if (!this.#cut && !into.destroyed && !into.write(bytes)) from.pause();
        });
        into.on("drain", () => from.resume());
        from.on("error", () => undefined);
        from.on("close", () => {
          this.#sockets.delete(from);
          into.destroy();
        });
      }
      client.resume();
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** What is sent from now on goes nowhere, and nobody is told: as behind a firewall that drops. */
  cut(): void {
    this.#cut = true;
  }

  /** Connections from before stay dead: what was dropped is missing from their streams. */
  heal(): void {
    this.#cut = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
