/**
 * Transcripts of the register that are meant to be read; `register/transcript.ts` writes them.
 */

import { expect, test } from "vitest";
import type { Epoch, NodeName, Partition } from "../../ring/ids.ts";
import { changed, firstDocument, partitionsOf, taking } from "../simulation/register/documents.ts";
import { Transcript } from "./register/transcript.ts";

const [A, B, D] = ["a", "b", "d"] as NodeName[] as [NodeName, NodeName, NodeName];
const first = firstDocument(3);

test("P7: three voters decide in two rounds, and everybody concerned hears it", async () => {
  const transcript = new Transcript(first, ["a", "b", "c"]);
  transcript.propose("a", changed(first, {}, "red"));
  transcript.runFor(50);
  await expect(transcript.text).toMatchFileSnapshot("register/decision.txt");
});

test("P7: of two proposers one wins, and the other learns that it lost", async () => {
  const transcript = new Transcript(first, ["a", "b", "c"]);
  transcript.propose("a", changed(first, {}, "red"));
  transcript.propose("b", changed(first, {}, "blue"));
  transcript.runFor(1_000);
  expect(transcript.text).toContain("ends its proposal for 2: lost");
  await expect(transcript.text).toMatchFileSnapshot("register/duel.txt");
});

test("P7: a proposer that restarts uses another ballot and finishes what was voted for", async () => {
  const transcript = new Transcript(first, ["a", "b", "c", "d"]);
  transcript.cuts.add("d>b").add("d>c");
  transcript.comment("d reaches only a, in ballot 1.d.1; then it restarts");
  transcript.propose("d", changed(first, {}, "red"));
  transcript.runFor(5);
  transcript.crash("d");
  transcript.cuts.clear();
  transcript.start("d");
  transcript.runFor(5);
  transcript.propose("d", changed(first, {}, "blue"));
  transcript.runFor(200);
  expect(transcript.text).toContain("prepare 2 1.d.2");
  await expect(transcript.text).toMatchFileSnapshot("register/restarted-proposer.txt");
});

test("P3: a partition is taken from a silent owner only when the grants to it have run out", async () => {
  const transcript = new Transcript(first, ["a", "b", "c", "d"]);
  transcript.runFor(8_000);
  transcript.crash("d");
  const owners = taking(first, D, A, partitionsOf(first, D));
  for (let tries = 0; tries < 4; tries += 1) {
    transcript.propose("a", changed(first, { owners }, "take from d"));
    transcript.runFor(1_800);
  }
  expect(transcript.text).toContain("refused leased");
  await expect(transcript.text).toMatchFileSnapshot("register/revocation.txt");
});

test("P3: with the owner's consent nobody waits", async () => {
  const transcript = new Transcript(first, ["a", "b", "c", "d"]);
  const partitions = partitionsOf(first, D) as Partition[];
  transcript.runFor(2_000);
  const consent = { member: D, epoch: 2 as Epoch, partitions };
  transcript.propose("d", changed(first, { owners: taking(first, D, B, partitions) }, "d gives to b"), [consent]);
  transcript.runFor(50);
  await expect(transcript.text).toMatchFileSnapshot("register/consent.txt");
});

test("P7: a new voter votes before any voter of the old document does", async () => {
  const transcript = new Transcript(first, ["a", "b", "d"]);
  transcript.comment("c is dead; d replaces it");
  transcript.propose("a", changed(first, { voters: [A, B, D] }, "d for c"));
  transcript.runFor(50);
  await expect(transcript.text).toMatchFileSnapshot("register/voter-replaced.txt");
});

test("P7: what was voted for and left by its proposer is finished by a voter", async () => {
  const transcript = new Transcript(first, ["a", "b", "c", "d"]);
  transcript.propose("d", changed(first, {}, "red"));
  transcript.runFor(5);
  transcript.crash("d");
  transcript.runFor(2_000);
  expect(transcript.text).toContain('a      knows document 2 "red"');
  await expect(transcript.text).toMatchFileSnapshot("register/finished-by-voter.txt");
});

test("P3: a node that is cut off is warned at 60 % of its lease and stops when it is over", async () => {
  const transcript = new Transcript(first, ["a", "b", "c", "d"], { showsLeases: true });
  transcript.lines.length = 0;
  for (const voter of first.voters) transcript.cuts.add(`d>${voter}`);
  transcript.runFor(5_200);
  const ofHolder = transcript.lines.filter((line) => line.includes(" d "));
  await expect(`${ofHolder.join("\n")}\n`).toMatchFileSnapshot("register/lease-lost.txt");
});
