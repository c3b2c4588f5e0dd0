/** Addresses as people write them: `host:port`, `host`, `port`, `[v6]:port`. */

import { usage } from "./exit-codes.ts";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** What is missing comes from `fallback`. Throws a usage error that names the flag. */
export function parseHostPort(
  text: string,
  { flag, fallback }: { readonly flag: string; readonly fallback: HostPort },
): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s/]+))?(?::?(\d{1,5}))?$/.exec(
    /^\d{1,5}$/.test(text) ? `:${text}` : text,
  );
  const host = match?.[1] ?? match?.[2] ?? fallback.host;
  const port = match?.[3] === undefined ? fallback.port : Number(match[3]);
  if (match === null || text === "" || port > 65_535)
    throw usage(`${flag} ${text}: expected HOST:PORT, such as ${showHostPort(fallback)}`);
  return { host, port };
}

export function showHostPort({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
