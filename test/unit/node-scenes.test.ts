/** Whole nodes in single moments: a lease that runs out, a planned stop, processes of one machine that die together. */

import { describe, expect, test } from "vitest";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import { Scene } from "../simulation/scene.ts";

const LEASE_MS = 5_000;

describe("a node that is cut off", () => {
  test("P3: starts nothing more once its lease is over, however much waits", () => {
    const scene = new Scene({ nodes: 3, running: 1, apart: true });
    scene.begin();
    const [first] = scene.hosts;
    scene.submit(first!, 3_000);
    scene.until(() => scene.starts(0, first) > 10, 5_000);
    scene.isolate(first!);
    const cutMs = scene.agenda.now;
    scene.pass(LEASE_MS);
    const stopMs = scene.agenda.now;
    expect(scene.starts(cutMs, first)).toBeGreaterThan(10);
    const accepted = scene.accepted();
    scene.submit(first!, 50, (index) => `late${index}`);
    scene.pass(20_000);
    expect(scene.starts(stopMs, first)).toBe(0);
    expect(scene.accepted()).toBe(accepted);
    expect(scene.document(2)?.members.find(({ name }) => name === "n1")?.status).toBe("down");
    scene.network.heal();
    scene.until(() => scene.document(2)?.members.every(({ status }) => status === "valid") ?? false, 60_000);
  });

  test("P9: costs the others of several machines no new tasks: those that may need its state wait for it", () => {
    const scene = new Scene({ nodes: 3, apart: true });
    scene.begin();
    const before = scene.document(2)!.owners;
    for (const host of scene.hosts) scene.submit(host, 20);
    scene.until(() => scene.done() === 60, 10_000);
    scene.isolate(scene.host(1));
    const cutMs = scene.agenda.now;
    scene.until(() => !(scene.document(2)?.owners.includes(scene.host(1).name) ?? true), 30_000);
    expect(scene.agenda.now - cutMs).toBeLessThan(20_000);
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
    const others = keys.filter((key) => before[partitionOfHash(hashKey("alpha", key), 8)] !== scene.host(1).name);
    scene.submit(scene.host(2), 100);
    scene.until(() => scene.accepted() === 160, 20_000);
    scene.pass(10_000);
    expect(scene.done()).toBe(60 + others.length);
    scene.network.heal();
    scene.until(() => scene.done() === 160, 60_000);
  });
});

describe("a process that stands still", () => {
  test("P3: past its lease starts nothing when it wakes, whatever it hears first", () => {
    const scene = new Scene({ nodes: 3, running: 1, apart: true });
    scene.begin();
    const [first] = scene.hosts;
    scene.submit(first!, 3_000);
    scene.until(() => scene.starts(0, first) > 10, 5_000);
    first!.pause(8_000);
    scene.pass(7_999);
    const wakesMs = scene.agenda.now;
    const holds = (): boolean | undefined => first!.machine?.holdsLease(first!.clock);
    let withoutMs = 0;
    for (scene.pass(2); holds() === false && withoutMs < 50; scene.pass(1)) {
      withoutMs++;
      expect(scene.starts(wakesMs, first)).toBe(0);
    }
    expect(withoutMs).toBeGreaterThan(0);
  });
});

describe("a store that fails", () => {
  test("P1: ends the node, and acknowledges nothing of what it could not write", () => {
    const scene = new Scene({ nodes: 1 });
    scene.begin();
    const [host] = scene.hosts;
    host!.syncFails = true;
    scene.submit(host!, 20);
    scene.pass(100);
    expect(host!.up).toBe(false);
    expect(host!.exited).toMatch(/^74 the store failed/);
    expect(scene.accepted()).toBe(0);
  });
});

describe("an owner in doubt", () => {
  test("P8: whose consents were lost, and who was killed then, ends the doubt itself, and its moves complete", () => {
    const scene = new Scene({ nodes: 3, apart: true });
    scene.begin();
    // All four of its partitions are in doubt.
    for (const host of scene.hosts) scene.ask(host, { type: "transfer-limit", limit: 4 });
    const second = scene.host(2);
    let killed = false;
    scene.whenConsented = () => {
      scene.isolate(second);
      scene.agenda.after(200, () => {
        second.crash();
        killed = true;
      });
    };
    scene.ask(scene.host(3), { type: "drain", name: second.name, drain: true });
    scene.until(() => killed, 10_000);
    expect(scene.document(3)?.owners).toContain(second.name);
    scene.network.heal();
    scene.restart(second);
    // No transfer is offered again meanwhile: nobody else has a reason to propose the epoch.
    scene.ask(second, { type: "transfer-limit", paused: true });
    const owned = scene.document(3)!.owners.filter((owner) => owner === second.name).length;
    scene.until(() => second.partitionsActive().length === owned, 2_500);
    scene.ask(second, { type: "transfer-limit", paused: false });
    scene.until(() => {
      const { owners, next } = scene.document(3)!;
      const active = scene.hosts.reduce((sum, host) => sum + host.partitionsActive().length, 0);
      return active === 8 && !owners.includes(second.name) && next.every((each) => each === undefined);
    }, 10_000);
  });
});

describe("a planned stop", () => {
  test("P1: starts nothing more, ends what runs, and keeps the rest for the next start", () => {
    const scene = new Scene({ nodes: 1, running: 2 });
    scene.begin();
    const [host] = scene.hosts;
    scene.submit(host!, 50);
    scene.until(() => scene.starts(0) > 4, 5_000);
    host!.stop(5_000);
    const stopMs = scene.agenda.now;
    scene.until(() => !host!.up, 6_000);
    expect(host!.exited).toBe("0 stopped");
    expect(scene.starts(stopMs)).toBe(0);
    expect(host!.disk.planned).toBe(true);
    scene.restart(host!);
    scene.until(() => scene.done() === 50, 10_000);
  });
});

describe("processes of one machine", () => {
  test("P1: keep what a dead one had when its register cannot be written, and whoever takes its directory over gives it back at once", () => {
    const scene = new Scene({ nodes: 3, running: 1 });
    scene.begin();
    const third = scene.host(3);
    scene.submit(scene.host(1), 2_000);
    scene.pass(1_500);
    scene.whenConsented = () => {
      third.disk.fullUntil = Number.MAX_SAFE_INTEGER;
    };
    third.crash();
    scene.pass(20_000);
    third.disk.fullUntil = 0;
    scene.until(() => scene.document()!.stranded.length === 0, 120_000);
    scene.until(() => scene.done() === 2_000, 120_000);
    expect(scene.accepted()).toBe(2_000);
  });

  test("P1: two voters of three die at once: the third speaks for both and goes on alone with all their tasks", () => {
    const scene = new Scene({ nodes: 3, running: 1 });
    scene.begin();
    expect(scene.document()?.voters).toHaveLength(3);
    scene.submit(scene.host(3), 300);
    scene.until(() => scene.accepted() === 300, 5_000);
    scene.host(1).crash();
    scene.host(2).crash();
    const crashMs = scene.agenda.now;
    const alone = scene.host(3);
    scene.until(() => alone.partitionsActive().length === 8, 15_000);
    expect(scene.agenda.now - crashMs).toBeLessThan(10_000);
    scene.until(() => scene.done() === 300, 30_000);
    scene.restart(scene.host(1));
    scene.restart(scene.host(2));
    scene.until(() => scene.document(3)?.members.every(({ status }) => status === "valid") ?? false, 60_000);
  });
});
