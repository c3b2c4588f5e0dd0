/**
 * What happens in `ringctl demo`, act by act, on a ring of real processes.
 *
 * D1  Each wait has a deadline, and ends at once when the demo is interrupted.
 * D2  The history is judged only when nothing runs any more: polls are paused, queues empty, nodes stopped.
 */

import type { Member, PlanReply } from "../proto/messages.ts";
import { RingError } from "../ring/errors.ts";
import { partitionOf } from "../ring/hash.ts";
import type { AppName } from "../ring/ids.ts";
import type { RingClient } from "../services/client/ring-client.ts";
import { decodeResult } from "../services/client/task-calls.ts";
import { readKeyOf } from "../services/feeds/app.ts";
import type { HistoryWriter } from "../services/history/writer.ts";
import { type Lab, waitUntil } from "../services/lab/lab.ts";
import type { Publisher } from "./demo-feeds.ts";
import { type AnswerTimes, devices, Load } from "./demo-load.ts";
import type { Narrator } from "./demo-narrator.ts";
import { type PipeFacts, type PipeRehearsal, pipeSentence, rehearsePipe } from "./demo-pipes.ts";
import type { DemoRedis } from "./demo-redis.ts";
import type { CounterCheck, JoinFacts, TakeoverFacts } from "./demo-verdict.ts";
import { planSheet } from "./plan.ts";
import { count, plural } from "./table.ts";

export interface Stage {
  readonly lab: Lab;
  readonly client: RingClient;
  readonly writer: HistoryWriter;
  readonly publisher: Publisher;
  readonly narrator: Narrator;
  readonly signal: AbortSignal;
  /** Where the nodes store; absent: each on its own disk. */
  readonly redis?: DemoRedis | undefined;
}

export interface StoryFacts {
  readonly submitted: number;
  readonly refusals: ReadonlyMap<string, number>;
  readonly answers: AnswerTimes;
  readonly join: JoinFacts;
  readonly takeover: TakeoverFacts;
  readonly touches: CounterCheck;
  readonly entries: CounterCheck | undefined;
  readonly feedAnswers: ReadonlyMap<number, number>;
  readonly pipes: readonly PipeFacts[];
}

/** Needs n1, n2 and n3 up; leaves no node running. */
export async function play(stage: Stage, tasks: number): Promise<StoryFacts> {
  const { client, writer, narrator, signal, publisher, lab } = stage;
  const load = new Load({ client, writer, tasks, perSecond: tasks / LOAD_SECONDS, signal });
  narrator.say(`submitting ${count(tasks)} tasks, ${count(Math.round(tasks / LOAD_SECONDS))} a second`);
  const showing = setInterval(() => narrator.progress(load.accepted, tasks, "accepted"), SHOW_MS);
  try {
    const join = await joinFourth(stage);
    await publisher.publish();
    await until(stage, "half of the tasks are accepted", LOAD_MS, () => load.accepted >= tasks / 2);
    await publisher.publish();
    const removal = openRun(stage, BAN);
    const takeover = await killOne(stage, load, removal);
    const removed = await removal.facts;
    narrator.say(pipeSentence(removed), removed.report === undefined ? "bad" : "good");
    await killRedis(stage);
    await publisher.publish();
    await load.finish();
    narrator.say(`${count(load.accepted)} tasks are accepted; waiting until all have run`);
    const entries = await readEntries(stage);
    await pausePolls(stage);
    await untilIdle(stage);
    narrator.say("all have run; reading the counters back");
    const touches = await readTouches(stage, load);
    const pushed = await killInFanOut(stage);
    await stopAll(lab);
    return {
      submitted: load.submitted,
      refusals: load.refusals,
      answers: load.answerTimes(),
      join,
      takeover,
      touches,
      entries,
      feedAnswers: publisher.answers,
      pipes: [removed, pushed],
    };
  } finally {
    clearInterval(showing);
  }
}

/** Partitions by member, once nothing moves. */
export async function untilSettled(stage: Stage, names: readonly string[]): Promise<ReadonlyMap<string, number>> {
  return until(stage, `${names.join(", ")} share the ring`, SETTLE_MS, async () => {
    const [{ members }, ring] = await Promise.all([
      stage.client.cluster.members(CALL),
      stage.client.cluster.ring(CALL),
    ]);
    if (ring.next.some((next) => next >= 0) || ring.owners.some((owner) => owner < 0)) return undefined;
    const serving = members.filter((member) => member.status === "valid" && names.includes(member.name));
    if (serving.length < names.length || serving.some(({ partitions }) => partitions === 0)) return undefined;
    return new Map(serving.map((member) => [member.name, member.partitions]));
  });
}

async function joinFourth(stage: Stage): Promise<JoinFacts> {
  const { lab, client, narrator } = stage;
  narrator.say(`${NEWCOMER} starts, and waits to be taken in`);
  await lab.start(NEWCOMER, { autoJoin: false });
  await until(stage, `${NEWCOMER} is staged`, SETTLE_MS, () =>
    client.cluster.stage({ join: { name: NEWCOMER } }, CALL),
  );
  const before = await owners(client);
  const planned = await client.cluster.plan(CALL);
  narrator.say(`${NEWCOMER} is staged; the plan:`);
  narrator.quote((paint) => ["", ...planSheet(planned, { everyMove: false }).lines(paint), ""]);
  const begun = performance.now();
  await client.cluster.commit(planned.planId, CALL);
  narrator.say(`plan ${planned.planId} is committed`);
  await untilSettled(stage, [...lab.names()]);
  const tookMs = performance.now() - begun;
  const after = await owners(client);
  const moved = after.flatMap((owner, partition) => (owner === before[partition] ? [] : [{ partition, owner }]));
  narrator.say(`${plural(moved.length, "partition")} moved to ${NEWCOMER} in ${(tookMs / 1_000).toFixed(1)} s`, "good");
  return {
    node: NEWCOMER,
    planned: planned.moves.length,
    moved: moved.length,
    asPlanned: asPlanned(planned, moved),
    tookMs,
  };
}

function asPlanned(plan: PlanReply, moved: readonly { readonly partition: number; readonly owner: string }[]): boolean {
  const wanted = new Map(plan.moves.map(({ partition, to }) => [partition, to]));
  return moved.length === wanted.size && moved.every(({ partition, owner }) => wanted.get(partition) === owner);
}

/** Owner names by partition. */
async function owners(client: RingClient): Promise<readonly string[]> {
  const ring = await client.cluster.ring(CALL);
  return ring.owners.map((owner) => ring.nodes[owner]?.name ?? "");
}

/** Coordinated by the newcomer, which is never killed. */
function openRun({ lab, client, signal }: Stage, given: typeof BAN | typeof FAN_OUT): PipeRehearsal {
  return rehearsePipe(client, { ...given, address: lab.node(NEWCOMER).grpc, signal });
}

async function killInFanOut(stage: Stage): Promise<PipeFacts> {
  const { lab, writer, narrator } = stage;
  narrator.say(`one event for ${count(FAN_OUT.expected)} subscribers, read page by page`);
  const fanOut = openRun(stage, FAN_OUT);
  const came = await fanOut.middle;
  const victim = lab.names().find((name) => name !== NEWCOMER) ?? "";
  const { pid } = lab.node(victim);
  const gone = lab.kill(victim);
  writer.killed(pid);
  narrator.say(`${victim} (process ${pid}) is killed with SIGKILL, after ${count(came)} pushes`, "bad");
  await gone;
  fanOut.goOn(victim);
  const facts = await fanOut.facts;
  narrator.say(pipeSentence(facts), facts.report === undefined ? "bad" : "good");
  await untilSettled(stage, lab.names());
  return facts;
}

async function killOne(stage: Stage, load: Load, removal: PipeRehearsal): Promise<TakeoverFacts> {
  const { lab, client, writer, narrator } = stage;
  // Never the newcomer: what it owns has only just moved, and the demo is to show an older owner's death.
  const candidates = lab.names().filter((name) => name !== NEWCOMER);
  const victim = candidates[Math.floor(Math.random() * candidates.length)] ?? "n1";
  const { pid } = lab.node(victim);
  const owner = await owners(client);
  const its = devices().filter((key) => owner[partitionOf({ app: NOTIFIER, key }, owner.length)] === victim);
  const removed = await removal.middle;
  await load.flood(its); // In the middle of which it dies, so that tasks are queued on it.
  const begun = performance.now();
  const gone = lab.kill(victim);
  writer.killed(pid);
  narrator.say(`${victim} (process ${pid}) is killed with SIGKILL, after ${count(removed)} removals`, "bad");
  await gone;
  const survivors = lab.names();
  await untilSettled(stage, survivors);
  await until(stage, `the directory of ${victim} is adopted`, SETTLE_MS, () => isAdopted(stage, survivors));
  const tookMs = performance.now() - begun;
  removal.goOn(victim); // Not before: the takeover is measured, and not two things at once.
  const how =
    stage.redis === undefined
      ? `${victim}'s directory is adopted, its tasks are`
      : `${victim}'s partitions are opened from Redis and are`;
  narrator.say(`${how} with ${survivors.join(", ")} after ${(tookMs / 1_000).toFixed(1)} s`, "good");
  return { node: victim, tookMs };
}

/** The server that all nodes store in: they wait for it, and go on. */
async function killRedis({ redis, narrator }: Stage): Promise<void> {
  if (redis?.killOnce === undefined) return;
  narrator.say("Redis is killed with SIGKILL as well", "bad");
  const awayMs = await redis.killOnce();
  narrator.say(`Redis is back after ${(awayMs / 1_000).toFixed(1)} s; the nodes found it again by themselves`, "good");
}

/** Nothing of the dead node waits any more. */
async function isAdopted({ client }: Stage, survivors: readonly string[]): Promise<boolean> {
  const { members } = await client.cluster.members(CALL);
  if (members.some((member: Member) => !survivors.includes(member.name) && member.status !== "down")) return false;
  const { nodes } = await client.cluster.status({}, CALL);
  return (
    survivors.every((name) => nodes.some((node) => node.name === name)) &&
    nodes.every((node) => node.adopting.length === 0 && node.stranded.length === 0)
  );
}

/** Waits until each feed's counter says what its document holds; what it says in the end is judged. */
async function readEntries(stage: Stage): Promise<CounterCheck | undefined> {
  const { publisher } = stage;
  const expected = await publisher.expected();
  const read = async (): Promise<CounterCheck | undefined> => {
    const found = await each(publisher.feeds, async ({ id, title }) => ({
      key: title,
      found: await counterOf(stage, { app: "feeds", key: id, name: "entries" }),
      expected: expected?.get(id),
    }));
    return { keys: found.length, sum: found.reduce((sum, row) => sum + row.found, 0), rows: found };
  };
  let last: CounterCheck | undefined;
  await until(stage, "all entries are read", FEEDS_MS, async () => {
    if (expected === undefined) return areRead(stage);
    last = await read();
    return last?.rows.every((row) => row.found === row.expected);
  }).catch((error: unknown) => {
    if (!(error instanceof RingError) || error.code !== "DEADLINE") throw error;
  });
  return last ?? read();
}

/** Each feed was read, or could not be, and says why. */
async function areRead({ client, publisher }: Stage): Promise<boolean> {
  const known = await each(publisher.feeds, async ({ url }) => {
    return (await client.tasks.readState({ app: "feeds", key: readKeyOf(url) }, CALL)).has("feed");
  });
  return known.every((is) => is);
}

async function pausePolls(stage: Stage): Promise<void> {
  const { client } = stage;
  await until(stage, "the polls are paused", SETTLE_MS, async () => {
    const { schedules, unreachable } = await client.tasks.listSchedules({ app: "feeds" }, CALL);
    const running = schedules.filter((schedule) => !schedule.paused);
    for (const { app, key, name } of running)
      await client.tasks.controlSchedule({ app, key, name, action: "pause" }, CALL);
    return (
      running.length === 0 && schedules.length > 0 && unreachable.every((name) => !stage.lab.names().includes(name))
    );
  });
}

/** Twice in a row: a task that just ended may be about to hand its children on. */
async function untilIdle(stage: Stage): Promise<void> {
  let quiet = 0;
  await until(stage, "all tasks have run", IDLE_MS, async () => {
    const { apps, unreachable } = await stage.client.apps.list({}, CALL);
    const idle = apps.every(({ queued, running, children }) => queued + running + children === 0);
    quiet = idle && !unreachable.some((name) => stage.lab.names().includes(name)) ? quiet + 1 : 0;
    return quiet >= 3;
  });
}

async function readTouches(stage: Stage, load: Load): Promise<CounterCheck> {
  const rows = await each([...load.acceptedByProfile], async ([key, expected]) => ({
    key,
    expected,
    found: await counterOf(stage, { app: "auth", key, name: "touches" }),
  }));
  return { keys: rows.length, sum: rows.reduce((sum, row) => sum + row.found, 0), rows };
}

function counterOf(
  stage: Stage,
  { app, key, name }: { readonly app: string; readonly key: string; readonly name: string },
): Promise<number> {
  return until(stage, `the state of ${app} ${key} can be read`, SETTLE_MS, async () => {
    const values = await stage.client.tasks.readState({ app, key }, CALL);
    return Number(decodeResult(values.get(name)) ?? 0);
  });
}

async function stopAll(lab: Lab): Promise<void> {
  await Promise.all(lab.names().map((name) => lab.stop(name)));
}

/** D1; a node that refuses or does not answer for a moment ends nothing. */
function until<T>(
  { signal }: Stage,
  what: string,
  deadlineMs: number,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  let why = "";
  const patient = async (): Promise<T | undefined | false> => {
    signal.throwIfAborted();
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof RingError)) throw error;
      why = `; last: ${error.code}: ${error.message}`;
      return undefined;
    }
  };
  return waitUntil(what, patient, deadlineMs).catch((error: unknown) => {
    if (error instanceof RingError && error.code === "DEADLINE")
      throw new RingError("DEADLINE", `${error.message}${why}`);
    throw error;
  });
}

/** A few at a time. */
async function each<In, Out>(items: readonly In[], act: (item: In) => Promise<Out>): Promise<Out[]> {
  const results: Out[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await act(items[at] as In);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
}

const NEWCOMER = "n4";
const BAN = { pipeline: "ban-profile", input: { profileId: "profile-1", items: 20_000 }, expected: 20_000 } as const;
const FAN_OUT = { pipeline: "fan-out", input: { event: "timeline.changed" }, expected: 100_000 } as const;
const LOAD_SECONDS = 12;
const NOTIFIER = "notifier" as AppName;
const SHOW_MS = 250;
const CALL = { deadlineMs: 3_000 } as const;
const AT_ONCE = 32;
const LOAD_MS = 40_000;
const SETTLE_MS = 20_000;
const FEEDS_MS = 15_000;
const IDLE_MS = 30_000;
