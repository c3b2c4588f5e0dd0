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

/** By address. Throws `INVALID_ARGUMENT` for a name that does not resolve. */
export async function resolveEndpoint(endpoint: Endpoint): Promise<Endpoint> {
  try {
    const { address } = await lookup(endpoint.host);
    return { host: address, port: endpoint.port };
  } catch (error) {
    throw new RingError("INVALID_ARGUMENT", `--join ${endpoint.host}: the name does not resolve`, { cause: error });
  }
}
