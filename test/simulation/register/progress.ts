/**
 * What the register model must reach once the faults have ended.
 *
 * C6  No vote stays undecided, everybody who is up learns the newest document and holds a lease.
 * C7  Then what belongs to a member that stays dead can be taken, within a bounded time.
 * A run that leaves a majority of voters gone for good has no progress to show: it is hopeless.
 */

import type { NodeName } from "../../../ring/ids.ts";
import { isVoter } from "../../../ring/register/voting.ts";
import type { Changes } from "./changes.ts";
import { Violation } from "./checkers.ts";
import type { Cluster } from "./cluster.ts";
import { idOf, NAMES } from "./documents.ts";
import { CALM } from "./world.ts";

/** Mends everything, lets some members stay dead, and wants progress; false when there is no hope for any. */
export function wantProgress(cluster: Cluster, changes: Changes): boolean {
  const { timeline, network, nodes, timing } = cluster;
  network.cuts.clear();
  network.weather = CALM;
  timeline.runUntil(timeline.now + 2_500); // the late messages
  const dead = chooseDead(cluster);
  for (const node of nodes.values()) {
    if (dead.has(node.name)) node.crash();
    else if (!node.isUp) node.start();
    else if (node.isPaused) node.resume();
  }
  timeline.runUntil(timeline.now + 9_000); // those that were to come back later
  for (const name of dead) cluster.node(name).crash();
  timeline.runUntil(timeline.now + 8 * timing.leaseMs);
  const down = new Set(NAMES.filter((name) => !cluster.node(name).isUp));
  if (!cluster.electorates().every((document) => cluster.hasQuorum(document, down))) return false;
  wantRest(cluster);
  wantRevocation(cluster, changes, dead);
  return true;
}

/** C6 */
function wantRest(cluster: Cluster): void {
  const { newest } = cluster.checkers;
  for (const node of cluster.up()) {
    const { accepted, document, memberId } = node.disk;
    if (idOf(newest, node.name) !== memberId || !cluster.canHear(node)) continue;
    if (document?.epoch !== newest.epoch) {
      throw new Violation(`C6: ${node.name} is at ${document?.epoch}, the ring at ${newest.epoch}`);
    }
    if (accepted !== undefined && isVoter(newest, node.name, memberId)) {
      throw new Violation(`C6: ${node.name} has voted for ${accepted.document.epoch} and nobody finishes it`);
    }
    if (!node.isLeased) throw new Violation(`C6: ${node.name} gets no lease at rest`);
  }
}

/** C7 */
function wantRevocation(cluster: Cluster, changes: Changes, dead: ReadonlySet<NodeName>): void {
  const { timeline, timing } = cluster;
  const { newest } = cluster.checkers;
  const claimant = cluster.up().find((node) => idOf(newest, node.name) === node.disk.memberId && cluster.canHear(node));
  const until = timeline.now + 12 * timing.leaseMs;
  while (claimant?.document !== undefined && timeline.now < until) {
    const victim = claimant.document.owners.find((owner) => owner !== undefined && dead.has(owner));
    if (victim === undefined && claimant.document.epoch > newest.epoch) return;
    if (victim === undefined) changes.propose(claimant, {});
    else changes.take(claimant, victim);
    timeline.runUntil(timeline.now + 200);
  }
  throw new Violation("C7: nothing is decided after the faults end");
}

function chooseDead(cluster: Cluster): ReadonlySet<NodeName> {
  const dead = new Set(NAMES.filter(() => cluster.random() < 0.3));
  const electorates = cluster.electorates();
  for (const name of [...dead]) {
    if (!electorates.every((document) => cluster.hasQuorum(document, dead))) dead.delete(name);
  }
  return dead;
}
