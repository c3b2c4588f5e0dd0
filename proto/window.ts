/**
 * How much of a stream may be under way unread. HTTP/2 begins with 64 KiB, and every 64 KiB then cost a turn of both ends' event
 * loops: 1 to 2 MB/s between nodes that are busy.
 *
 * W1  A client has an option for it; a server of grpc-js (1.14) has none, so its HTTP/2 server is told as it is made. A release
 *     without these members leaves the window small, and a test fails.
 * W2  Peers have a larger one: there are few of them, and what thousands of clients' connections may keep in memory stays small.
 * W3  Once for a connection: settings that nobody confirms end it, and what is asked of an ended one throws.
 */

import type { Http2Server, Http2Session, ServerOptions } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** Between nodes; of a stream, and of its connection. */
export const PEER_WINDOW_BYTES: number = 512 * 1024;

export interface Windows {
  readonly bytes: number;
  /** Over which path a connection is known for a peer's. */
  readonly peerPath: string;
}

/** W1. Before the server is given any connections. */
export function widenWindows(server: Server, { bytes, peerPath }: Windows): void {
  const inside = server as unknown as Partial<Inside>;
  const { commonServerOptions, createHttp2Server } = inside;
  if (commonServerOptions === undefined || createHttp2Server === undefined) return;
  commonServerOptions.settings = { ...commonServerOptions.settings, initialWindowSize: bytes };
  inside.createHttp2Server = (credentials) => {
    const made = createHttp2Server.call(server, credentials);
    made.on("session", (session) => session.setLocalWindowSize(bytes));
    const widened = new WeakSet<Http2Session>();
    made.on("stream", ({ session }, headers) => {
      if (headers[":path"] !== peerPath || session === undefined || session.destroyed || widened.has(session)) return;
      widened.add(session); // W3
      session.setLocalWindowSize(PEER_WINDOW_BYTES);
      session.settings({ initialWindowSize: PEER_WINDOW_BYTES }); // W2
    });
    return made;
  };
}

interface Inside {
  readonly commonServerOptions: { settings?: ServerOptions["settings"] };
  createHttp2Server: (this: Server, credentials: unknown) => Http2Server;
}
