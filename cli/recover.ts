/**
 * `ringctl recover --voters N,… --data DIR --yes`: an operator's last resort when the quorum is lost for good. Offline: it
 * writes the register file of one member whose process does not run (ownership rule 6).
 */

import { join } from "node:path";
import { RingError } from "../ring/errors.ts";
import { parseNodeName } from "../ring/ids.ts";
import { lockHolder, tryLockDirectory } from "../ring/io/directory.ts";
import { decodeRegisterState, encodeRegisterState } from "../ring/io/register-codec.ts";
import { openRegisterFile } from "../ring/io/register-file.ts";
import { recover as recovered } from "../ring/register/recover.ts";
import type { CommandRun } from "./ask-node.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import { fieldLines } from "./table.ts";

export async function recover({ settings, output, flags }: CommandRun): Promise<number> {
  const names = String(flags.voters ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0) throw usage("--voters is missing: name the members that survive, separated by commas");
  const voters = names.map(parseNodeName);
  const name = settings.text("name");
  const data = settings.text("data") ?? (name === undefined ? undefined : join(".taskring", name));
  if (data === undefined) throw usage("--data is missing: the data directory of one of the voters");
  await using directory = await locked(data);
  const file = await openRegisterFile(directory.path, { memberId: directory.id, roomDeadlineMs: 0 });
  try {
    const bytes = file.read();
    if (bytes === undefined) throw new RingError("NOT_FOUND", `${data} knows no ring`);
    const before = decodeRegisterState(bytes);
    const after = recovered(before, { voters });
    const { document } = after;
    if (document === undefined || before.document === undefined)
      throw new RingError("NOT_FOUND", `${data} knows no ring`);
    const others = before.document.members.map((member) => member.name).filter((member) => !voters.includes(member));
    const lost = [
      `ring changes that were decided after epoch ${before.document.epoch} and that ${directory.name} has not learnt`,
      ...(before.accepted === undefined
        ? []
        : [
            `the change to epoch ${before.accepted.document.epoch}, for which ${directory.name} has voted and whose decision it does not know`,
          ]),
      ...(before.document.staged.length === 0 ? [] : [`${before.document.staged.length} staged changes`]),
    ];
    const item = {
      ringId: document.ringId,
      node: directory.name,
      data: directory.path,
      historyBefore: before.document.history,
      history: document.history,
      epoch: document.epoch,
      voters: document.voters,
      votersBefore: before.document.voters,
      others,
      mayBeLost: lost,
      written: flags.yes === true,
    };
    if (flags.yes === true) await file.write(encodeRegisterState(after));
    output.show({
      kind: "Recovery",
      items: [item],
      lines: (paint) => [
        ...fieldLines(
          [
            ["ring", item.ringId],
            ["history", `${item.historyBefore} to ${item.history}, from epoch ${item.epoch} on`],
            ["voters", `${item.votersBefore.join(", ")} to ${item.voters.join(", ")}`],
          ],
          paint,
        ),
        "",
        paint("what may be lost", "strong"),
        ...lost.map((text) => `  ${text}`),
        ...(others.length === 0 ? [] : [`  until they return: tasks and state on the disks of ${others.join(", ")}`]),
      ],
    });
    if (flags.yes !== true)
      throw new CliError("CONFIRMATION_MISSING", "recover starts a new history of the ring; nothing was changed", {
        exit: EXIT.usage,
        hint: "stop every node, then pass --yes, for exactly one of the voters",
      });
    output.remark(
      `written. Start ${directory.name} first, then ${others.length === 0 ? "the others" : [...document.voters.filter((voter) => voter !== directory.name), ...others].join(", ")}: they stop once when they learn of the new history; start them again`,
    );
    return EXIT.ok;
  } finally {
    await file.close();
  }
}

async function locked(data: string): Promise<NonNullable<Awaited<ReturnType<typeof tryLockDirectory>>>> {
  const directory = await tryLockDirectory(data);
  if (directory !== undefined) return directory;
  const pid = await lockHolder(data);
  throw new CliError("CONFLICT", `${data} is in use${pid === undefined ? "" : ` by process ${pid}`}`, {
    exit: EXIT.conflict,
    hint: "recover works offline: stop the node first",
  });
}
