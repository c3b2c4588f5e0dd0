/** Where settings come from, and how what people write is understood. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isLoopback, parseHostPort } from "../../../cli/address.ts";
import { parseDuration, showDuration } from "../../../cli/duration.ts";
import { CliError } from "../../../cli/exit-codes.ts";
import { Settings } from "../../../cli/settings.ts";
import { leaseGiver, openBindsOf, planStart, refusalOf } from "../../../cli/start.ts";
import { RingError } from "../../../ring/errors.ts";

let cwd = "";
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "ringctl-settings-"));
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

const settings = (flags: Record<string, unknown> = {}, env: Record<string, string> = {}): Settings =>
  new Settings(flags, { env, cwd });
const file = (content: unknown): void =>
  writeFileSync(join(cwd, "taskring.json"), typeof content === "string" ? content : JSON.stringify(content));

describe("settings", () => {
  test("a flag beats the environment, which beats the file, which beats the default", () => {
    expect(settings().find("grpc")).toEqual({ values: ["127.0.0.1:7400"], source: "default", where: "default" });
    file({ grpc: "127.0.0.1:1" });
    expect(settings().find("grpc")).toMatchObject({
      values: ["127.0.0.1:1"],
      source: "file",
      where: join(cwd, "taskring.json"),
    });
    expect(settings({}, { TASKRING_GRPC: "127.0.0.1:2" }).find("grpc")).toMatchObject({
      values: ["127.0.0.1:2"],
      where: "TASKRING_GRPC",
    });
    expect(settings({ grpc: "127.0.0.1:3" }, { TASKRING_GRPC: "127.0.0.1:2" }).text("grpc")).toBe("127.0.0.1:3");
  });

  test("an unknown key in the file is an error that names the nearest known one", () => {
    file({ gossib: "127.0.0.1:1" });
    expect(() => settings()).toThrow(/gossib is not a setting; did you mean gossip\?/);
  });

  test("an unknown variable is an error, unless it belongs to apps or tests", () => {
    expect(() => settings({}, { TASKRING_ZON: "a" })).toThrow(
      /TASKRING_ZON is not a setting; did you mean TASKRING_ZONE\?/,
    );
    expect(() => settings({}, { TASKRING_APP_KEY: "x", TASKRING_HISTORY_DIR: "y", HOME: "z" })).not.toThrow();
  });

  test("lists come as repeated flags, as lists in the file and separated by commas in the environment", () => {
    expect(settings({ app: ["a.js", "b.js"] }).list("app")).toEqual(["a.js", "b.js"]);
    file({ app: ["a.js", "b.js"] });
    expect(settings().list("app")).toEqual(["a.js", "b.js"]);
    expect(settings({}, { TASKRING_APP: "a.js, b.js" }).list("app")).toEqual(["a.js", "b.js"]);
  });

  test("a file that is not JSON, or no object, or missing though named, is refused by its name", () => {
    file("{");
    expect(() => settings()).toThrow(/taskring\.json is not JSON/);
    file("[]");
    expect(() => settings()).toThrow(/expected an object/);
    expect(() => settings({ config: "nowhere.json" })).toThrow(/nowhere\.json cannot be read/);
  });

  test("a value that cannot be is refused with the place it came from", () => {
    expect(() => settings({}, { TASKRING_WEIGHT: "heavy" }).integer("weight", { least: 0, most: 1_000 })).toThrow(
      /^TASKRING_WEIGHT heavy/,
    );
    expect(() => settings({ output: "yaml" }).oneOf("output", ["table", "json"])).toThrow(
      /--output yaml: expected one of table, json/,
    );
  });
});

describe("a start", () => {
  test("a data directory that cannot be used is not taken for a port, nor for a bug", () => {
    const plan = planStart(settings({ name: "a", data: "/srv/a" }));
    for (const [code, syscall] of [
      ["EACCES", "mkdir"],
      ["EROFS", "open"],
      ["EEXIST", "mkdir"],
      ["ENOENT", "mkdir"],
    ]) {
      const error = Object.assign(new Error(`${code}: no, ${syscall} '/srv/a'`), { code, syscall, path: "/srv/a" });
      expect(refusalOf(error, plan)).toMatchObject({ exit: 2, message: expect.stringContaining("directory /srv/a") });
    }
    const keys = Object.assign(new Error("EACCES"), { code: "EACCES", syscall: "open", path: "/srv/keys.json" });
    expect(refusalOf(new RingError("INVALID_ARGUMENT", "the keys", { cause: keys }), plan)).toBeUndefined();
    const low = Object.assign(new Error("EACCES: listen"), { code: "EACCES", syscall: "listen", port: 80 });
    expect(refusalOf(low, plan)).toMatchObject({ exit: 2, message: expect.stringContaining("cannot listen") });
  });

  test("no data directory is made where none was named", () => {
    expect(() => planStart(settings({ name: "a", data: "" }))).toThrow(/--data is empty/);
  });

  const refusal = (flags: Record<string, unknown>): CliError => {
    try {
      planStart(settings(flags));
    } catch (error) {
      return error as CliError;
    }
    throw new Error("it was not refused");
  };

  test("binds to loopback by default, under the machine's name, in a folder of that name", () => {
    const plan = planStart(settings({ name: "a" }));
    expect(plan).toMatchObject({
      name: "a",
      data: ".taskring/a",
      grpc: { host: "127.0.0.1", port: 7_400 },
      http: { port: 7_480 },
      gossip: { port: 7_946 },
      ringSize: 64,
      autoJoin: false,
    });
  });

  test("refuses another address than loopback unless --insecure-bind says so", () => {
    expect(refusal({ grpc: "0.0.0.0:7400" })).toMatchObject({
      exit: 2,
      message: expect.stringContaining("--grpc 0.0.0.0"),
    });
    expect(refusal({ gossip: "[::]:7946" })).toMatchObject({ exit: 2 });
    const open = planStart(settings({ grpc: "0.0.0.0:7400", insecureBind: true }));
    expect(open.grpc.host).toBe("0.0.0.0");
    expect(openBindsOf(open)).toEqual(["grpc"]);
    expect(openBindsOf(planStart(settings({})))).toEqual([]);
    const keyed = planStart(settings({ gossip: "0.0.0.0:7946", gossipKeys: "keys.json", insecureBind: true }));
    expect(openBindsOf(keyed)).toEqual([]);
  });

  test("refuses a zone that no ring would take: the node would run, and its join be refused", () => {
    expect(refusal({ zone: "rack 7" })).toMatchObject({ exit: 2, message: expect.stringContaining("--zone rack 7") });
    expect(planStart(settings({ zone: "rack-7" })).zone).toBe("rack-7");
  });

  test("refuses a ring size that is no power of two, an unknown store and two advertised hosts", () => {
    expect(refusal({ ringSize: "100" }).message).toMatch(/power of two/);
    expect(refusal({ store: "tape" }).message).toMatch(/expected embedded or redis/);
    expect(refusal({ store: "redis://x/?evict=1" }).message).toMatch(/unknown setting evict/);
    expect(planStart(settings({ store: "redis://x" }))).toMatchObject({ store: "redis://x" });
    expect(refusal({ advertise: ["a", "grpc=b:1"] }).message).toMatch(/names 2 hosts/);
  });

  test("is told what to advertise by host and by port", () => {
    expect(
      planStart(settings({ advertise: ["node.example", "grpc=node.example:17400", "gossip=17946"] })).advertise,
    ).toEqual({ host: "node.example", grpcPort: 17_400, gossipPort: 17_946 });
  });
});

describe("what people write", () => {
  test.each([
    ["127.0.0.1:1", "127.0.0.1", 1],
    ["7401", "127.0.0.1", 7_401],
    [":7401", "127.0.0.1", 7_401],
    ["node.example", "node.example", 7_400],
    ["[::1]:99", "::1", 99],
    ["0", "127.0.0.1", 0],
  ])("the address %s is understood", (text, host, port) => {
    expect(parseHostPort(text, { flag: "--grpc", fallback: { host: "127.0.0.1", port: 7_400 } })).toEqual({
      host,
      port,
    });
  });

  test.each(["", "a:b", "a:99999", "http://a:1", "a b:1", "::1:1:"])("the address %j is refused", (text) => {
    expect(() => parseHostPort(text, { flag: "--grpc", fallback: { host: "127.0.0.1", port: 7_400 } })).toThrow(
      CliError,
    );
  });

  test("loopback is what begins with 127, ::1 and localhost, and nothing that only looks like it", () => {
    expect(["127.0.0.1", "127.9.9.9", "::1", "localhost"].every(isLoopback)).toBe(true);
    expect(["127.0.0.1.example.com", "0.0.0.0", "::", "10.0.0.1"].some(isLoopback)).toBe(false);
  });

  test.each([
    ["500ms", 500],
    ["5s", 5_000],
    ["1.5m", 90_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
  ])("the duration %s is %i ms", (text, ms) => {
    expect(parseDuration(text, "--timeout")).toBe(ms);
  });

  test.each(["5", "s", "-1s", "5 s x", "1e3s", "", "NaN", "NaNs", "Infinitys"])(
    "the duration %j is refused, because its unit could be mistaken",
    (text) => {
      expect(() => parseDuration(text, "--timeout")).toThrow(/--timeout/);
    },
  );

  test("P8: a start that waits for its lease says whose, and no password", () => {
    expect(leaseGiver(undefined)).toBe("a majority of voters has to answer");
    const said = leaseGiver("redis://u:secret@10.0.0.9:6380/2");
    expect(said).toContain("10.0.0.9:6380");
    expect(said).not.toMatch(/majority|secret/);
  });

  test("a duration that no timer takes is refused: it was over at once", () => {
    expect(parseDuration("24d", "--timeout")).toBe(24 * 86_400_000);
    expect(() => parseDuration("999999d", "--timeout")).toThrow("--timeout 999999d: expected at most 24 d");
    expect(() => parseDuration("25d", "--timeout")).toThrow(/at most/);
    expect(() => parseDuration("999999999d", "--delay", Number.MAX_SAFE_INTEGER)).toThrow(/at most/);
    expect(parseDuration("60d", "--delay", Number.MAX_SAFE_INTEGER)).toBe(60 * 86_400_000);
  });

  test("durations are shown with two figures at most", () => {
    expect([0, 999, 3_400, 59_960, 125_000, 11_400_000, 187_200_000].map(showDuration)).toEqual([
      "0 ms",
      "999 ms",
      "3.4 s",
      "1 min",
      "2 min 5 s",
      "3 h 10 min",
      "2 d 4 h",
    ]);
  });
});
