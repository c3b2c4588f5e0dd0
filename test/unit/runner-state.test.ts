import { expect, test } from "vitest";
import { defineApp, type TaskContext, type TaskHandler, task } from "../../services/app.ts";
import { decodeValue } from "../../services/runner/value.ts";
import { type AttemptFields, attemptOf, harness } from "./runner-harness.ts";

async function endOf(handler: TaskHandler, fields: AttemptFields = {}, options = {}) {
  using h = harness([defineApp("acme", { tasks: { work: task(handler, options) } })]);
  h.runner.start([attemptOf(fields)]);
  return await h.endOf(1);
}

const changesOf = (end: Awaited<ReturnType<typeof endOf>>) =>
  end.stateChanges.map(({ name, value }) => [name, value === undefined ? undefined : decodeValue(value)]);

test("a counter is read, raised and reported once", async () => {
  const end = await endOf((_t, { state }) => state.put("n", (state.get<number>("n") ?? 0) + 1), { state: { n: 41 } });
  expect(end.outcome).toMatchObject({ type: "done" });
  expect(changesOf(end)).toEqual([["n", 42]]);
});

test("reads see this attempt's own writes and deletes", async () => {
  const seen: unknown[] = [];
  const end = await endOf(
    (_t, { state }) => {
      state.put("a", { x: [1, "é"] });
      state.put("bytes", new Uint8Array([1, 2]));
      state.delete("old");
      state.delete("never there");
      seen.push(state.get("a"), state.get("bytes"), state.get("old"), state.get("kept"), state.names());
      state.put("a", 2);
      state.put("old", null);
    },
    { state: { old: 1, kept: "yes" } },
  );
  expect(seen).toEqual([{ x: [1, "é"] }, new Uint8Array([1, 2]), undefined, "yes", ["kept", "a", "bytes"]]);
  expect(changesOf(end)).toEqual([
    ["a", 2],
    ["bytes", new Uint8Array([1, 2])],
    ["old", null],
  ]);
});

test("objects are copied on the way in and out", async () => {
  const end = await endOf((_t, { state }) => {
    const list = [1];
    state.put("list", list);
    list.push(2);
    state.get<number[]>("list")?.push(3);
    const bytes = new Uint8Array([1]);
    state.put("bytes", bytes);
    bytes[0] = 9;
    (state.get("bytes") as Uint8Array)[0] = 8;
  });
  expect(changesOf(end)).toEqual([
    ["list", [1]],
    ["bytes", new Uint8Array([1])],
  ]);
});

test("many names are kept apart", async () => {
  const end = await endOf((_t, { state }) => {
    for (let at = 0; at < 500; at++) state.put(`name-${at}`, at);
    for (let at = 0; at < 500; at += 2) state.put(`name-${at}`, -at);
    if (state.get("name-499") !== 499 || state.get("name-498") !== -498) throw new Error("mixed up");
  });
  expect(end.outcome.type).toBe("done");
  expect(end.stateChanges).toHaveLength(500);
});

test("P5: a value has at most 256 KiB, a key at most 1 MiB, a name at most 256 bytes", async () => {
  const refused: string[] = [];
  const end = await endOf((_t, { state }) => {
    const put = (name: string, bytes: number) => {
      try {
        state.put(name, new Uint8Array(bytes));
      } catch (error) {
        refused.push(`${name.slice(0, 5)} ${(error as { code: string }).code}`);
      }
    };
    put("large", 256 * 1024);
    for (let at = 0; at < 6; at++) put(`v${at}`, 200 * 1024);
    put("v0", 10);
    put("v5", 100 * 1024);
    put("", 1);
    put("é".repeat(200), 1);
  });
  expect(refused).toEqual([
    "large PAYLOAD_TOO_LARGE",
    "v5 PAYLOAD_TOO_LARGE",
    " INVALID_ARGUMENT",
    "ééééé INVALID_ARGUMENT",
  ]);
  expect(end.stateChanges.map(({ name }) => name)).toEqual(["v0", "v1", "v2", "v3", "v4", "v5"]);
});

test("the limit of a key counts what is stored already", async () => {
  const stored = Object.fromEntries(Array.from({ length: 5 }, (_, at) => [`s${at}`, "x".repeat(200_000)]));
  const end = await endOf((_t, { state }) => state.put("one more", "y".repeat(60_000)), { state: stored });
  expect(end.outcome).toMatchObject({ type: "failed", error: { name: "PAYLOAD_TOO_LARGE" } });
});

test("touching state that is away ends the attempt so, whatever the handler makes of it", async () => {
  const touches: ((ctx: TaskContext) => unknown)[] = [
    ({ state }) => state.get("n"),
    ({ state }) => state.put("n", 1),
    ({ state }) => state.delete("n"),
    ({ state }) => state.names(),
  ];
  for (const touch of touches) {
    const swallowed = await endOf(
      async (_t, ctx) => {
        try {
          touch(ctx);
        } catch {
          return "as if nothing were wrong";
        }
      },
      { stateAway: true },
    );
    expect(swallowed.outcome).toEqual({ type: "state-away" });
    expect((await endOf((_t, ctx) => touch(ctx), { stateAway: true })).outcome).toEqual({ type: "state-away" });
  }
  expect((await endOf((_t, { state }) => void state, { stateAway: true })).outcome.type).toBe("done");
});

test("a type that is declared without state may not touch it", async () => {
  const end = await endOf((_t, { state }) => state.get("n"), {}, { state: "none" });
  expect(end.outcome).toMatchObject({ type: "failed", permanent: true });
});

test("a stored value with an unknown tag is an error of the attempt, not of the node", async () => {
  using h = harness([defineApp("acme", { tasks: { work: task((_t, { state }) => state.get("n")) } })]);
  h.runner.start([{ ...attemptOf(), state: new Map([["n", new Uint8Array([9, 9])]]) }]);
  expect((await h.endOf(1)).outcome).toMatchObject({ type: "failed", error: { name: "INTERNAL" } });
});
