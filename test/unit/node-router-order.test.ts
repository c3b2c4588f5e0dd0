/** Two forwards of one partition under way to one owner, which refuses the first and takes the second. */

import { expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { Forward, Forwarded, NodeMessage } from "../../ring/node/messages.ts";
import { type Admission, type LocalOwner, Router } from "../../ring/node/router.ts";
import { ForwardSink } from "../../ring/node/sinks.ts";
import type { SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { documentOf, keyIn, taskRecord } from "./node-parts.ts";

/** One real router with a link to the other; messages wait in `out` until the test delivers them, in order. */
function node(self: string, document: RingDocument) {
  const side = {
    now: 1_000,
    document,
    admission: "serve" as Admission,
    out: [] as NodeMessage[],
    taken: [] as string[],
    outcomes: new Map<number, SubmitOutcome>(),
    router: undefined as unknown as Router,
    client(records: readonly TaskRecord[]): void {
      const sink = {
        forwarded: false,
        origin: "client" as const,
        settle: (of: number, o: SubmitOutcome) => void side.outcomes.set(of, o),
      };
      side.router.submit(
        sink,
        records.map((_, index) => index),
        records,
      );
    },
    /** As `Desk.fromPeer`. */
    peer(from: string, message: Forward): void {
      const { forwardId, origin, records, epoch } = message;
      const sink = new ForwardSink(
        { from: from as NodeName, forwardId, epoch, origin, count: records.length },
        (done) => void side.out.push({ type: "forwarded", forwardId, epoch, outcomes: done.outcomes }),
      );
      side.router.submit(
        sink,
        records.map((_, index) => index),
        records,
      );
    },
  };
  const here = {
    self: self as NodeName,
    memberId: `id-${self}` as never,
    get now() {
      return side.now;
    },
    get document() {
      return side.document;
    },
    emit: () => {},
    send: (_to: NodeName, message: NodeMessage) => void side.out.push(message),
    linked: () => true,
    note: () => {},
  };
  const local: LocalOwner = {
    admission: () => side.admission,
    submit: (_partition, record, sink, token) => {
      side.taken.push(record.id);
      sink.settle(token, { type: "accepted", id: record.id });
    },
  };
  side.router = new Router(here, local, { numbersFrom: 0 });
  return side;
}

function exchange(a: ReturnType<typeof node>, b: ReturnType<typeof node>): void {
  for (let turn = 0; turn < 10; turn++) {
    for (const message of a.out.splice(0)) b.peer("a", message as Forward);
    for (const message of b.out.splice(0)) a.router.forwarded("b" as NodeName, message as Forwarded);
  }
}

const records = (): TaskRecord[] => [1, 2].map(() => taskRecord(keyIn(0), 1_000));

test("P3: the owner has no lease for a moment: the second submit does not overtake the first", () => {
  const [a, b] = [node("a", documentOf({ epoch: 5, owner: "b" })), node("b", documentOf({ epoch: 5, owner: "b" }))];
  const [first, second] = records();
  a.client([first!]);
  a.client([second!]);
  expect(a.out).toHaveLength(2);
  b.admission = "no-lease";
  b.peer("a", a.out.shift() as Forward);
  b.admission = "serve"; // the renewal's answer comes
  b.router.drain(); // as the node does
  exchange(a, b);
  expect(b.taken).toEqual([first!.id, second!.id]);
});

test("P3: the new owner does not know its epoch yet when the first forward comes", () => {
  const after = documentOf({ epoch: 6, owner: "b", generation: 2 });
  const [a, b] = [node("a", after), node("b", documentOf({ epoch: 5, owner: "c" }))];
  const [first, second] = records();
  a.client([first!]);
  a.client([second!]);
  b.peer("a", a.out.shift() as Forward);
  b.document = after;
  b.router.drain(); // as the node does
  exchange(a, b);
  expect(b.taken).toEqual([first!.id, second!.id]);
});
