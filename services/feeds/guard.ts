/**
 * Keeps a URL that a user gave us from reaching anything that is not on the public internet.
 *
 * The judgement is made on the address that is connected to, not on the name: names resolve differently from one moment
 * to the next. So the guard sits in the resolver of each connection and looks at the connected socket once more.
 *
 * G1  Only global unicast is public. What no list names (IPv6 outside 2000::/3) is refused, not let through.
 * G2  Addresses that carry an IPv4 address for a translator or tunnel (NAT64, 6to4, Teredo, IPv4-compatible) are refused,
 *     whatever they carry; an IPv4-mapped one is judged as the IPv4 address that the kernel would connect to.
 * G3  `allowAddresses` opens exactly the listed addresses or ranges, and nothing by default.
 */

import { lookup as resolve } from "node:dns";
import { isIP, type LookupFunction, type Socket } from "node:net";
import ipaddr from "ipaddr.js";
import { buildConnector } from "undici";
import { FeedError } from "./errors.ts";

export interface GuardSettings {
  /** Addresses ("127.0.0.1") or ranges ("10.1.0.0/16") that may be read although they are not public. */
  readonly allowAddresses?: readonly string[];
  /** Resolves a name to addresses; the system's resolver unless a test gives its own. */
  readonly resolveAddresses?: ResolveAddresses;
}

export type ResolveAddresses = (
  hostname: string,
  done: (error: Error | null, addresses: readonly { readonly address: string; readonly family: number }[]) => void,
) => void;

/** Decides which addresses may be connected to, and makes connections that obey. */
export class AddressGuard {
  readonly #allowed: readonly Range[];
  readonly #resolve: ResolveAddresses;

  /** Throws `TypeError` on an entry of `allowAddresses` that is neither address nor range. */
  constructor(settings: GuardSettings = {}) {
    this.#allowed = (settings.allowAddresses ?? []).map(parseRange);
    this.#resolve = settings.resolveAddresses ?? resolveBySystem;
  }

  /** Why the address may not be connected to; undefined when it may. */
  refusal(address: string): string | undefined {
    const parsed = parseAddress(address);
    if (parsed === undefined) return "not an address";
    if (this.#allowed.some((range) => range.kind === parsed.kind() && parsed.match(range.base, range.bits)))
      return undefined; // G3
    return publicRefusal(parsed);
  }

  /** A connector for undici. Errors are `FeedError` ADDRESS_REFUSED, or the system's. */
  connector(options: { readonly connectTimeoutMs: number }): buildConnector.connector {
    const connect = buildConnector({
      timeout: options.connectTimeoutMs,
      lookup: this.#lookup,
    } as buildConnector.BuildOptions);
    return (target, callback) => {
      const host = target.hostname.replace(/^\[|\]$/g, "");
      // A literal address is connected without a look-up, so it is judged here.
      const why = isIP(host) === 0 ? undefined : this.refusal(host);
      if (why !== undefined) return callback(refused(host, why), null);
      connect({ ...target, hostname: host }, (...result) => {
        const [error, socket] = result;
        if (error !== null || socket === null) return callback(error ?? new Error("no socket"), null);
        const connected = this.#connectedRefusal(socket);
        if (connected === undefined) return callback(null, socket);
        socket.destroy();
        callback(connected, null);
      });
    };
  }

  #connectedRefusal(socket: Socket): FeedError | undefined {
    const address = socket.remoteAddress ?? "";
    const why = this.refusal(address);
    return why === undefined ? undefined : refused(address, why);
  }

  /** Offers only the addresses that may be connected to; when there is none, the connection fails with the reason. */
  readonly #lookup: LookupFunction = (hostname, options, callback) => {
    this.#resolve(hostname, (error, addresses) => {
      if (error !== null) return callback(error, "", 0);
      const open = addresses.filter((each) => this.refusal(each.address) === undefined);
      const first = open[0];
      if (first === undefined) {
        const shown = addresses[0]?.address;
        const why = shown === undefined ? "it has no address" : `${shown}: ${this.refusal(shown)}`;
        return callback(refused(hostname, why), "", 0);
      }
      if (options.all === true) return callback(null, [...open]);
      callback(null, first.address, first.family);
    });
  };
}

/** Parses a URL that may be fetched: absolute, http or https, no credentials. Throws `URL_INVALID`. */
export function parseFeedUrl(text: string, base?: string): URL {
  if (text.length > URL_LENGTH_LIMIT) throw new FeedError("URL_INVALID", `longer than ${URL_LENGTH_LIMIT} characters`);
  let url: URL;
  try {
    url = new URL(text, base);
  } catch (cause) {
    throw new FeedError("URL_INVALID", `${JSON.stringify(text.slice(0, 200))} is not an absolute URL`, { cause });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new FeedError("URL_INVALID", `${url.protocol} is not http or https`);
  }
  if (url.username !== "" || url.password !== "")
    throw new FeedError("URL_INVALID", "a URL with credentials is not fetched");
  url.hash = "";
  return url;
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;

interface Range {
  readonly kind: string;
  readonly base: Address;
  readonly bits: number;
}

function publicRefusal(address: Address): string | undefined {
  const range = address.range();
  if (range !== "unicast") return `${range} address`;
  if (address.toString() === AZURE_HOST) return "cloud host address";
  if (address.kind() === "ipv6" && !address.match(GLOBAL_UNICAST)) return "outside global unicast"; // G1
  return undefined;
}

function parseAddress(text: string): Address | undefined {
  const bare = text.split("%", 1)[0] ?? "";
  // isIP first: ipaddr.js reads "127.1" and "0x7f000001" too, which nobody resolves to.
  return isIP(bare) === 0 ? undefined : ipaddr.process(bare); // process() unwraps IPv4-mapped addresses (G2)
}

function parseRange(text: string): Range {
  const [host = "", bitsText] = text.split("/", 2);
  const base = parseAddress(host);
  const widest = base?.kind() === "ipv4" ? 32 : 128;
  const bits = bitsText === undefined ? widest : Number(bitsText);
  if (base === undefined || !/^\d{0,3}$/.test(bitsText ?? "") || bitsText === "" || bits > widest) {
    throw new TypeError(`allowAddresses: ${JSON.stringify(text)} is neither an address nor a range`);
  }
  return { kind: base.kind(), base, bits };
}

function refused(host: string, why: string): FeedError {
  return new FeedError("ADDRESS_REFUSED", `${host} (${why})`);
}

const resolveBySystem: ResolveAddresses = (hostname, done) => {
  resolve(hostname, { all: true }, (error, addresses) => done(error, addresses ?? []));
};

const GLOBAL_UNICAST: [ipaddr.IPv6, number] = ipaddr.IPv6.parseCIDR("2000::/3");
/** Hands a virtual machine there its configuration, keys included; a public number that is never routed. */
const AZURE_HOST = "168.63.129.16";
const URL_LENGTH_LIMIT = 2_048;
