import { expect, test } from "vitest";
import { troubleOf } from "../../../ring/io/store/redis/link.ts";

const WRAPPED = "ERR Error running script (call to f_77ab): @user_script:26: @user_script: 26: ";

test.each([
  ["OOM command not allowed when used memory > 'maxmemory'.", "full"],
  [`${WRAPPED}-OOM command not allowed when used memory > 'maxmemory'. `, "full"],
  [`${WRAPPED}-READONLY You can't write against a read only replica. `, "again"],
  [`${WRAPPED}-MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk. `, "again"],
  ["LOADING Redis is loading the dataset in memory", "again"],
  ["READONLY You can't write against a read only replica.", "again"],
  ["NOREPLICAS Not enough good replicas to write.", "again"],
  ["ERR max number of clients reached", "again"],
  ["Connection is closed.", "again"],
  [`${WRAPPED}Script attempted to access a non local key in a cluster node `, "refused"],
  ["WRONGTYPE Operation against a key holding the wrong kind of value", "refused"],
  ["NOPERM this user has no permissions to run the 'evalsha' command", "refused"],
])("what Redis says is told apart by whether it passes: %s", (message, kind) => {
  expect(troubleOf(new Error(message)).kind).toBe(kind);
});
