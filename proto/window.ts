/**
 * How much of a stream may be under way unread. HTTP/2 begins with 64 KiB, and every 64 KiB then cost a turn of both ends' event
 * loops: 1 to 2 MB/s between nodes that are busy.
 *
 * W1  A client has an option for it; a server of grpc-js (1.14) has none, so its HTTP/2 server is told as it is made. A release
 *     without these two members leaves the window small, and a test fails.
 */

import type { Http2Server, ServerOptions } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** Of a stream, and of a connection: what one that is not read may keep in memory. */
export const WINDOW_BYTES: number = 512 * 1024;

/** W1. Before the server is given connections. */
export function widenWindow(server: Server): void {
  const inside = server as unknown as Partial<Inside>;
  const { commonServerOptions, createHttp2Server } = inside;
  if (commonServerOptions === undefined || createHttp2Server === undefined) return;
  commonServerOptions.settings = { ...commonServerOptions.settings, initialWindowSize: WINDOW_BYTES };
  inside.createHttp2Server = (credentials) => {
    const made = createHttp2Server.call(server, credentials);
    made.on("session", (session) => session.setLocalWindowSize(WINDOW_BYTES));
    return made;
  };
}

interface Inside {
  readonly commonServerOptions: { settings?: ServerOptions["settings"] };
  createHttp2Server: (this: Server, credentials: unknown) => Http2Server;
}
