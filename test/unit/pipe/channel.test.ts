/** What two processes say to one another over links that break: once, in order, for as long as both live. */

import { expect, test } from "vitest";
import { Channel } from "../../../pipe/channel.ts";

/** As if a header had room for no higher number: it wraps, as 2^32 does. */
function narrowed(bytes: Uint8Array, numbers: number): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  for (const at of [17, 21]) view.setUint32(at, view.getUint32(at) % (numbers + 1));
  return copy;
}

/** Two ends, and what is on its way to each. */
function pair(numbers: number) {
  const heard: [string[], string[]] = [[], []];
  const way: [Uint8Array[], Uint8Array[]] = [[], []];
  let lost = 0;
  const end = (mine: 0 | 1): Channel =>
    new Channel({
      newSession: () => 1 + mine,
      send: (bytes) => way[mine === 0 ? 1 : 0].push(narrowed(bytes, numbers)) > 0,
      receive: (body) => void heard[mine].push(body),
      lost: () => void lost++,
      numbers,
    });
  const ends = [end(0), end(1)] as const;
  return {
    ends,
    heard,
    lostTimes: () => lost,
    drop: () => void way[1].splice(0),
    pass: () => {
      for (const mine of [1, 0] as const) for (const bytes of way[mine].splice(0)) ends[mine].take(bytes);
    },
  };
}

test("P6: frames go on beyond the last number that there is, confirmed and repeated as ever", () => {
  const { ends, heard, lostTimes, drop, pass } = pair(7);
  const said: string[] = [];
  for (let now = 0; now < 60; now++) {
    for (let count = 0; count <= now % 3; count++) {
      said.push(`${now}.${count}`);
      ends[0].push(said.at(-1)!);
      ends[0].flush(now);
    }
    if (now % 5 === 4) {
      drop(); // the link broke
      ends[0].repeat(now);
    }
    pass();
    ends[1].flush(now);
    pass();
    expect([now, heard[1]]).toEqual([now, said]);
    expect([now, ends[0].waits, ends[0].keptBytes]).toEqual([now, false, 0]);
  }
  expect(lostTimes()).toBe(0);
});
