/**
 * The sockets of the membership machine: one port number for UDP packets and TCP exchanges.
 *
 * Bytes become messages here and messages bytes; what cannot be read is counted and dropped. It owns no timer of the
 * protocol: its caller feeds the events to a `Swim` and hands the effects back. The only timers are the deadlines of
 * TCP exchanges, which belong to the sockets.
 */

import type { Socket as UdpSocket } from "node:dgram";
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import type { Server } from "node:net";
import { createServer } from "node:net";
import { RingError } from "../errors.ts";
import type { Address } from "../membership/address.ts";
import { addressText, canonicalHost } from "../membership/address.ts";
import { DecodeError } from "../membership/decode-error.ts";
import type { SwimEffect, SwimEvent } from "../membership/events.ts";
import { PROFILES } from "../membership/profile.ts";
import type { Packet } from "../membership/wire.ts";
import { decodePacket, encodePackets } from "../membership/wire.ts";
import type { GossipCounters } from "./gossip-counters.ts";
import { countDrops, noGossipCounts } from "./gossip-counters.ts";
import { Envelope, Keyring } from "./gossip-crypto.ts";
import { GossipStreams } from "./gossip-streams.ts";

export interface GossipOptions {
  /** Port 0: the system chooses one that is free for UDP and TCP. */
  readonly bind: Address;
  /** What others are told to send to, where that differs (containers, NAT). Without a port: the bound one. */
  readonly advertise?: { readonly host: string; readonly port?: number };
  /** Keys of an encrypted ring; may change while it runs. Default: gossip in clear. */
  readonly keyring?: Keyring;
  /** Memberlist's label; others with another one, or none, are not heard. Default: none. */
  readonly label?: string;
  /** Never called before `openGossip` has resolved, never from inside `perform`, never after disposal has begun. */
  readonly onEvent: (event: SwimEvent) => void;
}

export interface Gossip extends AsyncDisposable {
  /** For the machine: the advertised host and port. */
  readonly address: Address;
  readonly bound: Address;
  readonly counters: Readonly<GossipCounters>;
  /** True if the effect was one for the network; the others are the caller's. */
  perform(effect: SwimEffect): boolean;
}

/** Throws `INVALID_ARGUMENT` when the port is taken, or when nothing says which address others can reach. */
export async function openGossip(options: GossipOptions): Promise<Gossip> {
  const host = await resolveHost(options.bind.host);
  if (UNSPECIFIED.has(host) && options.advertise === undefined)
    throw new RingError("INVALID_ARGUMENT", `bound to ${host}, others need an address to reach: pass --advertise`);
  const advertised = options.advertise && (await resolveHost(options.advertise.host));
  const envelope = new Envelope({ keyring: options.keyring ?? new Keyring([]), label: options.label ?? "" });
  const { udp, server, port } = await bindBoth({ host, port: options.bind.port });
  const address = { host: advertised ?? host, port: options.advertise?.port ?? port };
  return new GossipSockets({ udp, server, address, bound: { host, port }, envelope, onEvent: options.onEvent });
}

interface Parts {
  readonly udp: UdpSocket;
  readonly server: Server;
  readonly address: Address;
  readonly bound: Address;
  readonly envelope: Envelope;
  readonly onEvent: (event: SwimEvent) => void;
}

class GossipSockets implements Gossip {
  readonly address: Address;
  readonly bound: Address;
  readonly counters: GossipCounters = noGossipCounts();
  readonly #udp: UdpSocket;
  readonly #streams: GossipStreams;
  readonly #envelope: Envelope;
  readonly #onEvent: (event: SwimEvent) => void;
  #closed: Promise<void> | undefined;

  constructor({ udp, server, address, bound, envelope, onEvent }: Parts) {
    this.address = address;
    this.bound = bound;
    this.#udp = udp;
    this.#envelope = envelope;
    this.#onEvent = (event) => {
      if (this.#closed === undefined) onEvent(event);
    };
    this.#streams = new GossipStreams({ server, counters: this.counters, envelope, onEvent: this.#onEvent });
    udp.on("message", (bytes, from) => this.#received(bytes, { host: from.address, port: from.port }));
    // Errors of single sends come to their callbacks; one here means only that some packet was lost.
    udp.on("error", () => this.counters.sendsFailed++);
  }

  perform(effect: SwimEffect): boolean {
    switch (effect.type) {
      case "send":
        for (const packet of encodePackets(effect.messages, {
          checksum: effect.checksum,
          byteLimit: PACKET_BYTE_LIMIT - this.#envelope.packetOverheadBytes,
        }))
          this.#send(effect.to, this.#envelope.sealPacket(packet));
        return true;
      case "exchange":
        if (this.#closed === undefined) this.#streams.exchange(effect);
        return true;
      case "reply":
        this.#streams.reply(effect.stream, effect.response);
        return true;
      case "refuse":
        this.#streams.refuse(effect.stream);
        return true;
      default:
        return false;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const udpClosed = once(this.#udp, "close");
    this.#udp.close();
    await Promise.all([udpClosed, this.#streams.close()]);
  }

  #send(to: Address, packet: Uint8Array): void {
    if (this.#closed !== undefined) return;
    this.counters.packetsOut++;
    this.counters.bytesOut += packet.length;
    this.#udp.send(packet, to.port, to.host, (error) => {
      if (error) this.counters.sendsFailed++;
    });
  }

  #received(bytes: Uint8Array, from: Address): void {
    this.counters.packetsIn++;
    this.counters.bytesIn += bytes.length;
    const { messages, drops } = this.#open(bytes);
    for (const reason of drops) countDrops(this.counters, reason, 1);
    if (messages.length === 0) {
      this.counters.packetsUnread++;
      return;
    }
    this.#onEvent({
      type: "received",
      from: { host: canonicalHost(from.host) ?? from.host, port: from.port },
      messages,
    });
  }

  #open(bytes: Uint8Array): Packet {
    try {
      return decodePacket(this.#envelope.openPacket(bytes));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return { messages: [], drops: [error.reason] };
    }
  }
}

async function resolveHost(host: string): Promise<string> {
  const known = canonicalHost(host);
  if (known !== undefined) return known;
  try {
    const { address } = await lookup(host, { family: 4 }).catch(() => lookup(host));
    return canonicalHost(address) ?? address;
  } catch (cause) {
    throw new RingError("INVALID_ARGUMENT", `${host} is no address and no known host name`, { cause });
  }
}

/** UDP first: a packet before the machine is there is simply lost, a connection would wait for an answer. */
async function bindBoth(
  at: Address,
): Promise<{ readonly udp: UdpSocket; readonly server: Server; readonly port: number }> {
  for (let tried = 1; ; tried++) {
    const udp = createSocket(at.host.includes(":") ? "udp6" : "udp4");
    const server = createServer({ allowHalfOpen: true });
    try {
      udp.bind(at.port, at.host);
      await once(udp, "listening");
      const { port } = udp.address();
      server.listen(port, at.host);
      await once(server, "listening");
      return { udp, server, port };
    } catch (cause) {
      udp.close();
      server.close();
      // A port chosen by the system for UDP may be taken for TCP: then the next one will do.
      if (at.port === 0 && tried < BIND_ATTEMPT_LIMIT) continue;
      const why = cause instanceof Error ? cause.message : "unknown error";
      throw new RingError(
        "INVALID_ARGUMENT",
        `cannot listen for gossip on ${addressText(at)} (${why}); free the port or choose another with --gossip`,
        { cause },
      );
    }
  }
}

const UNSPECIFIED: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
const PACKET_BYTE_LIMIT = PROFILES.lan.packetByteLimit;
const BIND_ATTEMPT_LIMIT = 20;
