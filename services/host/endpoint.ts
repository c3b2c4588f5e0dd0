/** Where a part of a node listens, or a peer does. */

import { lookup } from "node:dns/promises";
import { RingError } from "../../ring/errors.ts";

export interface Endpoint {
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
}

export function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

/**
 * Of `--join`, by address; a name that does not resolve is told to `unknown` and left out, as long as another one does. Throws
 * `INVALID_ARGUMENT` when none of them resolves.
 */
export async function resolveEndpoints(
  endpoints: readonly Endpoint[],
  unknown: (host: string) => void,
): Promise<readonly Endpoint[]> {
  const found: Endpoint[] = [];
  const failed: { readonly host: string; readonly cause: unknown }[] = [];
  const looks = await Promise.allSettled(endpoints.map(({ host }) => lookup(host)));
  for (const [index, look] of looks.entries()) {
    const { host, port } = endpoints[index]!;
    if (look.status === "fulfilled") found.push({ host: look.value.address, port });
    else failed.push({ host, cause: look.reason });
  }
  const [first] = failed;
  if (first !== undefined && found.length === 0) {
    const { host, cause } = first;
    throw new RingError("INVALID_ARGUMENT", `--join ${host}: the name does not resolve`, { cause });
  }
  for (const { host } of failed) unknown(host);
  return found;
}
