/** Members that join and partitions that they are given, while processes die and disks are slow. */

import { describe, expect, test } from "vitest";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, Partition, RingId } from "../../ring/ids.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import type { Host } from "../../services/testing/host.ts";
import { Scene } from "../simulation/scene.ts";
import { keyIn } from "./node-parts.ts";

test("P7: a member that is to vote in a dead one's place and whose disk stands still keeps nobody from the dead one's partitions", () => {
  const scene = new Scene({ nodes: 4, apart: true });
  scene.begin();
  scene.until(() => scene.document()!.voters.length === 3, 30_000);
  const outside = scene.hosts.find(({ name }) => !scene.document()!.voters.includes(name))!;
  const dead = scene.hosts.find((host) => host !== outside && host.name !== scene.document()!.voters[0])!;
  outside.disk.registerBusyUntil = Number.MAX_SAFE_INTEGER;
  dead.crash();
  const first = scene.hostOf(scene.document()!.voters[0]!)!;
  scene.until(() => !first.machine!.document!.owners.includes(dead.name), 60_000);
});

test("P9: a newcomer that dies while it joins, owning nothing, stops nobody", () => {
  const scene = new Scene({ nodes: 3, apart: true });
  const [first, second, third] = [scene.host(1), scene.host(2), scene.host(3)];
  const member = { name: first.name, id: "id-1" as MemberId, weight: 100, machine: "m1", directory: "/n1" };
  first.start({ founding: foundRing({ ringId: "scene" as RingId, ringSize: 8, member }), seeds: [] });
  scene.restart(second);
  scene.until(() => scene.document()?.owners.includes(second.name) === true, 60_000);
  scene.pass(5_000);
  second.crash();
  scene.until(() => scene.document()!.members.some(({ status }) => status === "down"), 60_000);
  scene.pass(8_000);
  expect(first.machine!.holdsLease(first.clock)).toBe(true);
  scene.ask(first, { type: "transfer-limit", paused: true });
  scene.restart(third);
  scene.until(() => scene.document()!.members.length === 3, 60_000);
  scene.pass(5_000);
  expect(scene.document()!.owners).not.toContain(third.name);
  third.crash();
  scene.pass(30_000);
  expect(first.machine!.holdsLease(first.clock)).toBe(true);
  expect(first.partitionsActive().length).toBe(8);
});

describe("a task that was accepted while a decision was on its way to the disk", () => {
  test.each(["former", "newcomer"] as const)("P1: is found where it was submitted: %s", (via) => {
    const scene = new Scene({ nodes: 3, apart: true });
    scene.begin();
    const former = scene.host(3);
    for (const host of via === "former" ? [former] : scene.hosts) delayRegister(scene, host);
    scene.ask(scene.host(1), { type: "drain", name: former.name, drain: true });
    const gone = scene.document()!.owners.indexOf(former.name) as Partition;
    const tasks = new Map<number, { readonly id: string; readonly host: Host }>();
    const answers: string[] = [];
    for (const host of scene.hosts)
      host.onAnswer = (_askId, answer) =>
        void answers.push(JSON.stringify([answer.type, "code" in answer && answer.code]));
    const asked = new Set<number>();
    for (let at = 0; at < 8_000; at += 20) {
      const to = scene.document()?.next[gone] ?? scene.document()?.owners[gone];
      const host = via === "former" ? former : scene.hostOf(to!)!;
      const token = 500_000 + at;
      tasks.set(token, { id: submit(scene, host, token, keyIn(gone)), host });
      scene.pass(20);
      for (const [each, task] of tasks) {
        if (scene.outcomes.get(each)?.type !== "accepted" || asked.has(each)) continue;
        asked.add(each);
        const request = { type: "get", id: task.id } as const;
        task.host.step({
          type: "ask",
          askId: each,
          request: { type: "task", partition: gone, request },
          deadlineMs: 5_000,
        });
      }
    }
    expect(asked.size).toBeGreaterThan(300);
    expect(answers.filter((answer) => answer.includes("NOT_FOUND"))).toEqual([]);
    expect(answers.filter((answer) => answer.includes("refused")).length).toBeLessThan(10);
  });

  const crashes = ["the newcomer", "both", "all", "the newcomer, for long"] as const;
  const cases = [true, false].flatMap((apart) => crashes.map((who) => ({ apart, who })));
  test.each(cases)(
    "P1: is run, whoever crashes before it is there: $who, apart $apart",
    ({ apart, who }) => {
      for (const afterMs of [30, 60, 120, 200]) {
        const scene = new Scene({ nodes: 3, apart });
        scene.begin();
        const former = scene.host(3);
        const gone = scene.document()!.owners.indexOf(former.name) as Partition;
        scene.ask(scene.host(1), { type: "drain", name: former.name, drain: true });
        scene.until(() => scene.document()?.next[gone] !== undefined, 10_000);
        const newcomer = scene.hostOf(scene.document()!.next[gone]!)!;
        const dead = who === "both" ? [newcomer, former] : who === "all" ? scene.hosts : [newcomer];
        scene.whenConsented = () => {
          for (const host of who === "the newcomer" ? [newcomer] : [newcomer, former])
            host.disk.registerBusyUntil = scene.agenda.now + 300;
          scene.agenda.after(afterMs, () => {
            for (const host of dead) host.crash();
            scene.agenda.after(who === "the newcomer, for long" ? 25_000 : 300, () => {
              for (const host of dead) scene.restart(host);
            });
          });
        };
        const ids = new Map<number, string>();
        for (let at = 0; at < 40_000; at += 10) {
          if (at < 20_000 && at % 20 === 0)
            for (const host of [former, newcomer])
              if (host.up) {
                const token = 700_000 + ids.size;
                ids.set(token, submit(scene, host, token, keyIn(gone, Math.floor(scene.random() * 3))));
              }
          scene.pass(10);
        }
        scene.pass(30_000);
        const accepted = [...ids].flatMap(([token, id]) =>
          scene.outcomes.get(token)?.type === "accepted" ? [id] : [],
        );
        expect(accepted.length).toBeGreaterThan(100);
        const done = idsDone(scene);
        expect(accepted.filter((id) => !done.has(id))).toEqual([]);
      }
    },
    60_000,
  );
});

function delayRegister(scene: Scene, host: Host): void {
  const { step } = host;
  host.step = (event: NodeEvent): void => {
    if (event.type !== "register-persisted") return step.call(host, event);
    scene.agenda.after(SLOW_MS, () => step.call(host, event));
  };
}

/** Its id. */
function submit(scene: Scene, host: Host, token: number, key: string): string {
  const id = mintId({ wallMs: 1_700_000_000_000 + scene.agenda.now, random: scene.random, app: "alpha", key });
  const wire = encodeRecord({ app: "alpha", type: "bump", key, id });
  const record = parseRecord(wire, 0, wire.length);
  if (isRefused(record)) throw new Error(`refused: ${key}`);
  host.step({ type: "submit", origin: 1, tokens: [token], records: [record] });
  return id;
}

function idsDone(scene: Scene): Set<string> {
  const attempts = new Map<string, string>();
  const done = new Set<string>();
  for (const { fact } of scene.facts) {
    if (fact.type === "attempt-start")
      attempts.set(`${fact.node} ${fact.life} ${fact.attempt.attemptId}`, fact.attempt.record?.id ?? "");
    else if (fact.type === "attempt-end" && fact.done)
      done.add(attempts.get(`${fact.node} ${fact.life} ${fact.attemptId}`)!);
  }
  return done;
}

const SLOW_MS = 400;
