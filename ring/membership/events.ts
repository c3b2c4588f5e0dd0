/** What goes into the membership machine and what comes out of it. */

import type { NodeName } from "../ids.ts";
import type { Address } from "./address.ts";
import type { Ping, PushPull, StreamRequest, StreamResponse, SwimMessage } from "./messages.ts";
import type { Tags } from "./tags.ts";

export type SwimEvent =
  | { readonly type: "tick" }
  /** One UDP packet. */
  | { readonly type: "received"; readonly from: Address; readonly messages: readonly SwimMessage[] }
  /** Somebody opened a TCP exchange and its request is complete; answer with `reply` or `refuse` and the same stream. */
  | {
      readonly type: "stream-request";
      readonly stream: number;
      readonly from: Address;
      readonly request: StreamRequest;
    }
  | { readonly type: "exchange-replied"; readonly exchange: number; readonly response: StreamResponse }
  /** `refused`: the machine answered that nothing listens there. */
  | {
      readonly type: "exchange-failed";
      readonly exchange: number;
      readonly reason: string;
      readonly refused?: boolean;
    }
  /** Asks each address for its members. Outcomes: `joined` or `join-failed`, one per address. */
  | { readonly type: "join"; readonly addresses: readonly Address[] }
  /** For good; outcome: `left`, when it is spread. Go on feeding events until then. */
  | { readonly type: "leave" }
  /** Throws `INVALID_ARGUMENT` if the tags exceed 512 bytes encoded. */
  | { readonly type: "set-tags"; readonly tags: Tags }
  /** Members of the ring: they are remembered however long they are gone, others for a time (`forgetAfterMs`). */
  | { readonly type: "keep"; readonly names: ReadonlySet<NodeName> }
  /** Something else speaks against this member, such as a link that broke: it is probed next. Ignored for strangers. */
  | { readonly type: "doubt"; readonly name: NodeName }
  /** The event loop was blocked for this long. */
  | { readonly type: "loop-lag"; readonly lagMs: number };

export type SwimEffect =
  /** One UDP packet or more. `checksum`: the receiver reads checksums. */
  | {
      readonly type: "send";
      readonly to: Address;
      readonly messages: readonly SwimMessage[];
      readonly checksum: boolean;
    }
  /** One TCP exchange; its outcome comes back as an event, within `timeoutMs`. */
  | {
      readonly type: "exchange";
      readonly exchange: number;
      readonly to: Address;
      readonly request: PushPull | Ping;
      readonly timeoutMs: number;
    }
  | { readonly type: "reply"; readonly stream: number; readonly response: StreamResponse }
  /** Close the stream without an answer. */
  | { readonly type: "refuse"; readonly stream: number }
  | MemberNotice
  | { readonly type: "joined"; readonly address: Address; readonly members: number }
  | { readonly type: "join-failed"; readonly address: Address; readonly reason: string }
  /** Everybody has had time to hear of our leave; the sockets may close. */
  | { readonly type: "left" }
  /** Two nodes use one name: `address` is the one we believe, `claimed` the other. At most once a minute for a name. */
  | { readonly type: "conflict"; readonly name: NodeName; readonly address: Address; readonly claimed: Address }
  /** Serf's user event, once each. */
  | {
      readonly type: "user-event";
      readonly name: string;
      readonly payload: Uint8Array;
      /** Serf's logical time of it. */
      readonly lamport: number;
    };

/** A change in what this node believes of another. Never about itself. */
export type MemberNotice =
  /** Alive: new, back after death or leave, or no longer suspected. */
  | { readonly type: "member-up"; readonly member: MemberView }
  | { readonly type: "member-suspect"; readonly member: MemberView }
  | { readonly type: "member-dead"; readonly member: MemberView }
  /** Left on its own will. */
  | { readonly type: "member-left"; readonly member: MemberView }
  /** Alive with other tags or another address. */
  | { readonly type: "member-updated"; readonly member: MemberView };

export interface MemberView {
  readonly name: NodeName;
  readonly address: Address;
  readonly state: "alive" | "suspect" | "dead" | "left";
  readonly incarnation: number;
  readonly tags: Tags;
}

/** Since the start; they only grow. */
export interface SwimCounters {
  probes: number;
  probesFailed: number;
  /** Probes to whose member's port the machine said that nothing listens. */
  probesRefused: number;
  /** Suspicions that began here, by own probes or by word of others. */
  suspicions: number;
  /** Suspects that were alive again. */
  suspicionsRefuted: number;
  /** Dead members that came back as the process they were: flaps. */
  flaps: number;
  /** Probes that only TCP answered: UDP to that member is broken. */
  probesOverStreamOnly: number;
  refutations: number;
  stalls: number;
  conflicts: number;
  /** Messages that break the protocol: impossible incarnations or versions, pings for somebody else. */
  refused: number;
  /** Push/pulls that were not merged because the versions do not fit. */
  mergesRefused: number;
}
