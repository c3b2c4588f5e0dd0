/** Where a node that knows nobody looks for its ring, and what it keeps for the next time. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import { type NodeName, parseNodeName } from "../../ring/ids.ts";
import type { MemberView } from "../../ring/membership/events.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import { joinRing } from "../../services/host/joining.ts";
import { documentOf } from "./node-parts.ts";

const GIVEN = { host: "10.0.0.1", port: 7_946 };
const [A, B, C, X] = ["a", "b", "c", "x"].map(parseNodeName) as [NodeName, NodeName, NodeName, NodeName];

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

class Alone {
  readonly name = A;
  readonly joins: string[] = [];
  known: readonly MemberView[] = [seen(A)];
  ring: RingDocument | undefined = documentOf({ epoch: 1 });
  document(): RingDocument | undefined {
    return this.ring;
  }
  members(): readonly MemberView[] {
    return this.known;
  }
  step(event: NodeEvent): void {
    if (event.type === "swim" && event.event.type === "join")
      this.joins.push(event.event.addresses.map(({ host, port }) => `${host} ${port}`).join(", "));
  }
}

function seen(name: NodeName, state: MemberView["state"] = "alive"): MemberView {
  return { name, state, address: { host: `10.0.1.${name.charCodeAt(0)}`, port: 1 }, incarnation: 1, tags: new Map() };
}

function begin(given: readonly (typeof GIVEN)[], kept?: string) {
  const node = new Alone();
  const written: string[] = [];
  const writeMarker = async (kind: string, detail = ""): Promise<void> => void written.push(`${kind}: ${detail}`);
  return { node, written, joining: joinRing({ node, given, kept, directory: { writeMarker } }) };
}

test("the addresses that are given come first, and those that were kept where none of them answers", async () => {
  const { node, joining } = begin([GIVEN], "10.0.0.2:2 [fd00::3]:3");
  vi.advanceTimersByTime(6_000);
  expect(node.joins).toHaveLength(7);
  expect(new Set(node.joins.slice(0, 5))).toEqual(new Set(["10.0.0.1 7946"]));
  expect(node.joins[5]).toBe("10.0.0.1 7946, 10.0.0.2 2, fd00::3 3");
  node.known = [seen(A), seen(B)];
  vi.advanceTimersByTime(5_000);
  expect(node.joins).toHaveLength(7);
  await joining.stop();
  node.known = [seen(A)];
  vi.advanceTimersByTime(5_000);
  expect(node.joins).toHaveLength(7);
});

test("P9: newcomers that found one another go on looking for the ring: its founder may start last", () => {
  const { node } = begin([GIVEN]);
  node.ring = undefined;
  node.known = [seen(A), seen(X)];
  vi.advanceTimersByTime(3_000);
  expect(node.joins).toHaveLength(4);
  node.ring = documentOf({ epoch: 1 });
  vi.advanceTimersByTime(3_000);
  expect(node.joins).toHaveLength(7); // of the ring itself nobody is known
  node.known = [seen(A), seen(X), seen(B, "dead")];
  vi.advanceTimersByTime(3_000);
  expect(node.joins).toHaveLength(7); // whom membership knows it looks for itself
});

test("what was kept is taken at once where nothing is given; what is no address is left out", () => {
  expect(begin([], "10.0.0.2:2").node.joins).toEqual(["10.0.0.2 2"]);
  expect(begin([], "10.0.0.2: :1 nobody.invalid:3 10.0.0.2:99999 10.0.0.2:-1 10.0.0.2:0.5 \u0000").node.joins).toEqual(
    [],
  );
  expect(begin([]).node.joins).toEqual([]);
});

test("members of the ring that live are kept, strangers and the dead are not, and the same ones are written once", async () => {
  const { node, written, joining } = begin([]);
  vi.advanceTimersByTime(1_000);
  node.known = [seen(A), seen(B, "dead"), seen(C), seen(X)];
  await vi.advanceTimersByTimeAsync(3_000);
  expect(written).toEqual(["peers: 10.0.1.99:1"]);
  node.known = [seen(A), seen(B), seen(C)];
  await vi.advanceTimersByTimeAsync(3_000);
  expect(written.at(-1)).toBe("peers: 10.0.1.98:1 10.0.1.99:1");
  node.known = [seen(A)];
  await vi.advanceTimersByTimeAsync(3_000);
  expect(written).toHaveLength(2); // who is alone now may need them
  await joining.stop();
});

test("a disk that does not answer while peers are written down keeps no node from its end", async () => {
  const node = new Alone();
  node.known = [seen(A), seen(B)];
  const silent = { writeMarker: (): Promise<void> => new Promise(() => {}) };
  const joining = joinRing({ node, given: [], kept: undefined, directory: silent });
  let stopped = false;
  void joining.stop().then(() => {
    stopped = true;
  });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(stopped).toBe(true);
});
