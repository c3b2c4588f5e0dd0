/**
 * What befalls a ring under load: SIGKILL of a node that is restarted later, a join and a leave by stage, plan and commit,
 * at seeded moments that may fall together.
 */

import { RingError } from "../../ring/errors.ts";
import type { RingClient } from "../../services/client/ring-client.ts";
import type { HistoryWriter } from "../../services/history/writer.ts";
import { type Lab, waitUntil } from "../../services/lab/lab.ts";
import type { SeededRandom } from "../../services/testing/random.ts";

export interface Fault {
  readonly name: string;
  /** After the load began. */
  readonly atMs: number;
  readonly run: () => Promise<void>;
}

export interface Scene {
  readonly lab: Lab;
  readonly client: RingClient;
  readonly history: HistoryWriter;
  readonly random: SeededRandom;
  /** Over which the load lasts. */
  readonly spanMs: number;
  readonly say: (line: string) => void;
  /** Nodes to which something is being done. */
  readonly busy: Set<string>;
  /** What a node starts with so that it finds the others; absent: those that run. */
  readonly seedsOf?: (name: string) => { readonly seeds: readonly string[]; readonly extra: readonly string[] };
}

export function planFaults(scene: Scene): readonly Fault[] {
  const { random, spanMs } = scene;
  const names = scene.lab.names();
  const victim = random.pick(names);
  const leaver = random.pick(random.chance(0.25) ? names : names.filter((name) => name !== victim));
  const downMs = random.between(300, 5_000);
  const moment = (): number => random.between(0.1, 0.9) * spanMs;
  const faults: Fault[] = [
    {
      name: `kill ${victim} for ${(downMs / 1_000).toFixed(1)} s`,
      atMs: moment(),
      run: () => killAndRestart(scene, victim, downMs),
    },
    { name: "join n4", atMs: moment(), run: () => join(scene, "n4") },
    { name: `leave ${leaver}`, atMs: moment(), run: () => leave(scene, leaver) },
  ];
  return faults.sort((a, b) => a.atMs - b.atMs);
}

export async function killAndRestart(
  { lab, history, say, seedsOf }: Scene,
  name: string,
  downMs: number,
): Promise<void> {
  if (!lab.names().includes(name)) return say(`${name} has left already`);
  const { pid } = lab.node(name);
  const dying = lab.kill(name);
  history.killed(pid); // right after the signal
  await dying;
  await new Promise((resolve) => setTimeout(resolve, downMs));
  await lab.start(name, { autoJoin: false, deadlineMs: 60_000, ...seedsOf?.(name) }).catch((error: unknown) => {
    // A member that left while it was down has nothing to come back to, and ends as soon as it learns that.
    say(`${name} did not come back: ${String(error)}`);
  });
}

export async function join(scene: Scene, name: string): Promise<void> {
  await scene.lab.start(name, { autoJoin: false, ...scene.seedsOf?.(name) });
  await waitUntil(
    `${name} is seen`,
    async () => {
      try {
        await scene.client.cluster.stage({ join: { name } }, CALL);
        return true;
      } catch (error) {
        if (error instanceof RingError && ["NOT_FOUND", "MEMBER_UNKNOWN", ...PASSING].includes(error.code))
          return false;
        throw error;
      }
    },
    CHANGE_MS,
  );
  await commitStaged(scene);
}

export async function leave(scene: Scene, name: string): Promise<void> {
  const staged = (): Promise<boolean> => tried(() => scene.client.cluster.stage({ leave: name }, CALL));
  await waitUntil("the change is staged", staged, CHANGE_MS);
  await commitStaged(scene);
}

/** Plans and commits what was planned; again if the plan changed meanwhile. Nothing staged: another commit took it along. */
async function commitStaged({ client, say }: Scene): Promise<void> {
  await waitUntil(
    "the plan is committed",
    () =>
      tried(async () => {
        const { planId, staged } = await client.cluster.plan(CALL);
        if (staged.length === 0) return;
        const { epoch } = await client.cluster.commit(planId, CALL);
        say(`committed ${staged.join("; ")} at epoch ${epoch}`);
      }),
    CHANGE_MS,
  );
}

async function tried(call: () => Promise<unknown>): Promise<boolean> {
  try {
    await call();
    return true;
  } catch (error) {
    if (error instanceof RingError && (PASSING.includes(error.code) || error.message.includes(DOWN))) return false;
    throw error;
  }
}

const CALL = { deadlineMs: 5_000 };
const CHANGE_MS = 60_000;
/** Of a leave of the node that was killed: seed 501. */
const DOWN = "wait for its return";
/** Refusals that an operator would answer by trying again. */
const PASSING: readonly string[] = [
  "PLAN_CHANGED",
  "RING_BUSY",
  "NO_OWNER",
  "NO_LEASE",
  "DEADLINE",
  "NOT_VOTER",
  "DRAINING",
];
