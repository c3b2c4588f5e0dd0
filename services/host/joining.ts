/**
 * Finds the ring, for as long as this node knows no member of it (other newcomers are none): at the addresses that it was given, and,
 * where none of those answers, where members of its ring were when it ran last. Those it keeps in its directory: the node that
 * founded the ring is given no address, and others would look for it in vain where it is no longer.
 */

import type { RingDocument } from "../../ring/document.ts";
import type { DataDirectory } from "../../ring/io/directory.ts";
import { type Address, addressText, canonicalHost } from "../../ring/membership/address.ts";
import type { MemberView, SwimEvent } from "../../ring/membership/events.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import { portOf } from "./endpoint.ts";

export interface JoiningNode {
  readonly name: string;
  document(): RingDocument | undefined;
  members(): readonly MemberView[];
  step(event: NodeEvent): void;
}

export interface JoiningOptions {
  readonly node: JoiningNode;
  /** `--join`. */
  readonly given: readonly Address[];
  /** What the last process has kept. */
  readonly kept: string | undefined;
  readonly directory: Pick<DataDirectory, "writeMarker">;
}

/** Looks at once and every second. `stop` resolves when nothing more is written, or the disk does not answer: a node ends all the same. */
export function joinRing({ node, given, kept, directory }: JoiningOptions): { stop(): Promise<void> } {
  const before = (kept ?? "").split(" ").flatMap(addressesIn);
  let looks = 0;
  let written = kept;
  let writing: Promise<void> = Promise.resolve();
  const look = (): void => {
    const members = membersOf(node);
    const addresses = looks++ < GIVEN_LOOKS && given.length > 0 ? given : [...given, ...before];
    if (members.length === 0 && addresses.length > 0) node.step(swim({ type: "join", addresses }));
    const peers = peersAmong(members);
    if (peers === "" || peers === written) return;
    written = peers;
    // On a disk without room it is said again when it has changed.
    writing = writing.then(() => directory.writeMarker("peers", peers)).catch(() => undefined);
  };
  look();
  const timer = setInterval(look, LOOK_EVERY_MS);
  timer.unref();
  return {
    stop: () => {
      clearInterval(timer);
      const late = new Promise<void>((resolve) => void setTimeout(resolve, WRITING_MOST_MS).unref());
      return Promise.race([writing, late]);
    },
  };
}

/** The others of the ring, as far as membership knows them; who is dead it looks for itself. */
function membersOf(node: JoiningNode): readonly MemberView[] {
  const names = new Set<string>(node.document()?.members.map(({ name }) => name));
  return node.members().filter(({ name }) => name !== node.name && names.has(name));
}

function peersAmong(members: readonly MemberView[]): string {
  return members
    .filter(({ state }) => state === "alive")
    .slice(0, KEPT_MOST)
    .map(({ address }) => addressText(address))
    .join(" ");
}

/** None where the text is none: anybody may have written it. */
function addressesIn(text: string): readonly Address[] {
  const host = canonicalHost(text.slice(0, text.lastIndexOf(":")).replace(/^\[|\]$/g, ""));
  const port = portOf(text);
  return host !== undefined && Number.isInteger(port) && port > 0 && port < 65_536 ? [{ host, port }] : [];
}

function swim(event: SwimEvent): NodeEvent {
  return { type: "swim", event };
}

const LOOK_EVERY_MS = 1_000;
/** For so many looks the given addresses alone are tried: what is kept may be somebody else's by now. */
const GIVEN_LOOKS = 5;
/** To write a marker takes a fraction of it. */
const WRITING_MOST_MS = 2_000;
/** Fits a marker. */
const KEPT_MOST = 8;
