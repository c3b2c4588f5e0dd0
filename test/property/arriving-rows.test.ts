/**
 * Rows that come from another owner, pages mixed with changes, give what the disk would: the same rows in the order of their
 * keys, however many are taken at a time. Broken once on purpose: a deletion that is not heeded; rows left in the order in which they came.
 */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keyText, type Row, type RowChange } from "../../ring/store.ts";
import { ArrivingRows } from "../../ring/tasks/arriving.ts";
import type { TaskRow } from "../../ring/tasks/read-row.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import { KIND, positionKey, readPosition, taskChange } from "../../ring/tasks/rows.ts";
import { mintId } from "../../ring/tasks/task-id.ts";

describe("rows that arrive", () => {
  test("P1: are the last ones written under each key, in the order of the keys, tasks first", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), fc.integer({ min: 1, max: 80 }), (changes, most) => {
        const rows = new ArrivingRows();
        const disk = new Map<string, Row>();
        for (const each of changes) {
          rows.add(each);
          const { key, value } = each;
          if (value === undefined) disk.delete(keyText(key));
          else disk.set(keyText(key), { key, value });
        }
        const stored = [...disk.values()].sort((left, right) => Buffer.compare(left.key, right.key));
        const isTask = ({ key }: Row): boolean => key[0] === KIND.task;
        const whole = wholeOf(rows, most);
        expect(whole.rows).toEqual(stored.filter((row) => !isTask(row)));
        expect(whole.tasks.map((task) => ("position" in task ? task.position.sequence : undefined))).toEqual(
          stored.filter(isTask).map(({ key }) => readPosition(key).sequence),
        );
      }),
    );
  });

  test("a task that cannot be read is still there for whoever loads it", () => {
    const rows = new ArrivingRows();
    const bad = { key: positionKey(KIND.task, { generation: 1, opens: 1, sequence: 7 }), value: Uint8Array.of(9) };
    rows.add(bad);
    expect(wholeOf(rows)).toEqual({ tasks: [], rows: [bad] });
  });

  test("P5: nothing that is kept is a view of what came", () => {
    const message = new Uint8Array(4_096).fill(7);
    const rows = new ArrivingRows();
    rows.add({ key: Uint8Array.of(KIND.result, 1), value: message.subarray(10, 20) });
    expect(wholeOf(rows).rows[0]?.value.buffer.byteLength).toBe(10);
  });

  test("P5: nor of a Buffer, whose slices are views", () => {
    const message = Buffer.alloc(1_000_000, 7);
    const rows = new ArrivingRows();
    rows.add({ key: Uint8Array.of(KIND.result, 1), value: message.subarray(10, 20) });
    const task = positionKey(KIND.task, { generation: 1, opens: 1, sequence: 1 });
    const record = { bytes: wire, start: 0, end: wire.length };
    message.set(taskChange(readPosition(task), HEADER, record, false).change().value as Uint8Array, 100);
    rows.add({ key: task, value: message.subarray(100, 116 + wire.length) });
    const { rows: others, tasks } = wholeOf(rows);
    expect(others[0]?.value.buffer.byteLength).toBe(10);
    expect(tasks[0]?.record.bytes.buffer.byteLength).toBe(wire.length);
    expect([...(tasks[0]?.record.wire ?? [])]).toEqual([...wire]);
  });
});

/** All of them, `most` at a time. */
function wholeOf(
  rows: ArrivingRows,
  most = Number.POSITIVE_INFINITY,
): { tasks: readonly TaskRow[]; rows: readonly Row[] } {
  const whole: { tasks: TaskRow[]; rows: Row[] } = { tasks: [], rows: [] };
  for (let isAll = false; !isAll; ) {
    const some = rows.take(most);
    expect(some.tasks.length + some.rows.length).toBeLessThanOrEqual(most);
    whole.tasks.push(...some.tasks);
    whole.rows.push(...some.rows);
    isAll = some.isAll;
  }
  return whole;
}

const ID = mintId({ wallMs: 1_700_000_000_000, random: Math.random, app: "alpha", key: "k" });
const wire = encodeRecord({ app: "alpha", type: "bump", key: "k", id: ID });
const HEADER = { flags: 0, attempts: 0, acceptedAtMs: 1, dueAtMs: 0 };

const keyOf = fc.oneof(
  fc
    .record({ generation: fc.nat(3), opens: fc.nat(2), sequence: fc.nat(400) })
    .map((position) => positionKey(KIND.task, position)),
  fc
    .tuple(fc.constantFrom(KIND.result, KIND.dedupe, KIND.ended, KIND.paused), fc.uint8Array({ maxLength: 3 }))
    .map(([kind, rest]) => Uint8Array.of(kind, ...rest)),
);

const change: fc.Arbitrary<RowChange> = fc
  .tuple(keyOf, fc.boolean(), fc.uint8Array({ maxLength: 4 }))
  .map(([key, isDeleted, value]) => {
    if (isDeleted) return { key };
    if (key[0] !== KIND.task) return { key, value };
    return taskChange(readPosition(key), HEADER, { bytes: wire, start: 0, end: wire.length }, false).change();
  });
