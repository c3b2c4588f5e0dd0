/** A newcomer is compared with a tally of what the live members say: as if with each of them. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import { isLive, type MemberRecord, type MemberState, MemberTable } from "../../ring/membership/member-table.ts";
import type { Versions } from "../../ring/membership/messages.ts";
import { OUR_VERSIONS } from "../../ring/membership/versions.ts";

/** memberlist's verifyProtocol. */
function compatible(nodes: readonly Versions[]): boolean {
  const known = nodes.filter((versions) => versions[1] !== 0);
  const most = (field: number) => Math.max(0, ...known.map((versions) => versions[field]!));
  const least = (field: number) => Math.min(255, ...known.map((versions) => versions[field]!));
  const [protocolMin, protocolMax, delegateMin, delegateMax] = [most(0), least(1), most(3), least(4)];
  return known.every(
    ([, , protocol, , , delegate]) =>
      protocol >= protocolMin && protocol <= protocolMax && delegate >= delegateMin && delegate <= delegateMax,
  );
}

const low = fc.integer({ min: 0, max: 3 });
const high = fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 2, max: 6 }) }, fc.constantFrom(0, 255));
const middle = fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 2, max: 4 }) }, fc.nat(255));
const versions = fc.oneof(
  { weight: 2, arbitrary: fc.constant(OUR_VERSIONS) },
  fc.tuple(low, high, middle, low, high, middle),
);
const state = fc.constantFrom("alive", "suspect", "dead", "left");

test("a tally of versions says what a comparison of all members says, whoever comes, changes and goes", () => {
  const seen = { true: 0, false: 0 };
  fc.assert(
    fc.property(
      fc.array(fc.record({ name: fc.nat(5), state, versions, passMs: fc.nat(60) }), { maxLength: 40 }),
      fc.array(versions, { maxLength: 3 }),
      (changes, more) => {
        const record = (name: number, type: string, of: Versions, since: number): MemberRecord =>
          ({ name: `n${name}` as NodeName, versions: of, state: { type, since } as unknown as MemberState }) as never;
        const table = new MemberTable(record(0, "alive", OUR_VERSIONS, 0), { random: () => 0.5, forgetAfterMs: 40 });
        let now = 0;
        for (const change of changes) {
          table.put(record(change.name, change.state, change.versions, now));
          now += change.passMs;
          for (let turn = 0; turn < 3; turn++) table.nextToProbe(now); // forgets
          const live = [...table.all()].filter(isLive).map((one) => one.versions);
          const fits = compatible([...live, ...more]);
          seen[`${fits}`]++;
          expect(table.understands(more)).toBe(fits);
        }
      },
    ),
    { numRuns: 2_000 },
  );
  expect(Math.min(seen.true, seen.false)).toBeGreaterThan(1_000);
});
