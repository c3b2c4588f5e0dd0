/** `RingClient.watch`: it goes on where the task can be asked for again, and ends where it cannot. */

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, expect, test } from "vitest";
import type { RingError } from "../../../ring/errors.ts";
import type { NodeAnswer } from "../../../ring/node/requests.ts";
import type { TaskState } from "../../../ring/tasks/task.ts";
import { startApi } from "../../../services/api/server.ts";
import type { CallOptions, RingClient } from "../../../services/client/index.ts";
import { doneTask, quiet, until } from "../api/fake-node.ts";
import { apis, client, closeAll, cluster, type Scripted } from "./scripted-cluster.ts";

afterEach(closeAll);

const ID = "0".repeat(32);

test("P5: a watch goes on while the owner restarts or another takes over, and tells no state twice", async () => {
  const [one] = await cluster(["n1"]);
  const codes = ["NO_OWNER", "NO_LEASE", "NOT_OWNER", "DRAINING", "STATE_AWAY", "DEADLINE"] as const;
  const refusals = codes.map((code): NodeAnswer => ({ type: "refused", code, detail: "not now", retryAfterMs: 20 }));
  const first = script(one!, [
    ...refusals,
    taskIn("queued"),
    ...refusals.flatMap((refusal) => [refusal, taskIn("queued")]), // of the wait, then of the get after it
    taskIn("running"),
    taskIn("done"),
  ]);
  const watched = watching(client([one!]));
  await watched.over;
  expect(watched.states).toEqual(["QUEUED", "RUNNING", "DONE"]);
  expect(watched.error).toBeUndefined();
  expect(first.left).toBe(0);
});

test.each([{ graceMs: 0 }, { graceMs: 50 }])("P5: a watch outlives its node's restart: %o", async (options) => {
  const [one] = await cluster(["n1"]);
  const answers = script(one!, [taskIn("queued")]);
  const watched = watching(client([one!]));
  await until(() => answers.unanswered === 1);
  const { address } = one!.api;
  const [host = "", port] = address.split(":");
  await one!.api.close(options);
  apis.splice(0);
  script(one!, [taskIn("queued"), taskIn("done")]);
  apis.push(await startApi({ node: one!.node, bind: { host, port: Number(port) }, log: quiet }));
  await watched.over;
  expect(watched.error).toBeUndefined();
  expect(watched.states).toEqual(["QUEUED", "DONE"]);
});

test("a watch that nobody can be asked for ends with its time, and for its caller at once", async () => {
  const [one] = await cluster(["n1"]);
  let asked = 0;
  one!.node.answer = () => {
    asked += 1;
    return { type: "refused", code: "NO_OWNER", detail: "n2 cannot be reached", retryAfterMs: 50 };
  };
  const ring = client([one!]);
  const late = watching(ring, { deadlineMs: 400 });
  await late.over;
  expect(late.error?.code).toBe("NO_OWNER");
  expect(asked).toBeGreaterThan(2);
  const controller = new AbortController();
  const given = watching(ring, { signal: controller.signal });
  const before = asked;
  await until(() => asked > before);
  controller.abort();
  await given.over;
  expect(given.error).toBeUndefined();
  const closed = watching(ring);
  const then = asked;
  await until(() => asked > then);
  ring.close();
  await closed.over;
  expect(closed.error?.code).toBe("CANCELLED");
});

test("P5: a watch of one node that accepts connections and says nothing ends with its time", async () => {
  const [one] = await cluster(["n1"]);
  const mute = createServer(() => undefined).listen(0, "127.0.0.1"); // as the kernel does for a frozen one
  try {
    await once(mute, "listening");
    const address = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const watched = watching(client([one!]), { address, deadlineMs: 500 });
    await watched.over;
    expect(watched.error?.code).toBe("NO_OWNER");
  } finally {
    mute.close();
  }
});

interface Watched {
  readonly states: string[];
  error: RingError | undefined;
  readonly over: Promise<void>;
}

function watching(ring: RingClient, options: CallOptions = {}): Watched {
  const states: string[] = [];
  const watch = async (): Promise<void> => {
    for await (const { state } of ring.watch(ID, options)) states.push(state);
  };
  const watched: Watched = {
    states,
    error: undefined,
    over: watch().catch((error: RingError) => {
      watched.error = error;
    }),
  };
  return watched;
}

interface Script {
  readonly left: number;
  /** Asked after the last answer. */
  readonly unanswered: number;
}

/** One answer for each question, in turn; then none. */
function script({ node }: Scripted, answers: readonly NodeAnswer[]): Script {
  let at = 0;
  node.answer = () => answers[at++] ?? new Promise<NodeAnswer>(() => undefined);
  return {
    get left() {
      return Math.max(0, answers.length - at);
    },
    get unanswered() {
      return Math.max(0, at - answers.length);
    },
  };
}

function taskIn(state: TaskState): NodeAnswer {
  const done = doneTask(ID);
  if (done.type !== "task" || done.answer.type !== "task") throw new Error("no task");
  return { type: "task", answer: { type: "task", status: { ...done.answer.status, state } } };
}
