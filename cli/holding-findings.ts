/**
 * What `doctor` says of a store that all nodes share: what takes most room there, what grows, and the bound of each.
 *
 * What a team has to act on is a warning: memory without a limit or nearly full, a log that nothing shortens, rows that
 * nothing removes. The rest are notes.
 */

import type { Holding, HoldingsReply } from "../proto/messages.ts";
import { showDuration } from "./duration.ts";
import { type Finding, note, warning } from "./finding.ts";
import { bytes, count, plural } from "./table.ts";

export function holdingFindings(held: HoldingsReply | undefined): readonly Finding[] {
  if (held === undefined) return [];
  const { usedBytes, limitBytes, logBytes, logShortened, holdings } = held;
  const found: Finding[] = [];
  if (limitBytes === 0)
    found.push(
      warning(
        "STORE_UNLIMITED",
        "Redis",
        `uses ${bytes(usedBytes)} and may take all memory of its machine: it is then killed, not refused more work`,
        "set maxmemory (with maxmemory-policy noeviction): a full Redis pushes back and loses nothing",
      ),
    );
  else if (usedBytes > limitBytes * NEARLY_FULL)
    found.push(
      warning(
        "STORE_NEARLY_FULL",
        "Redis",
        `uses ${bytes(usedBytes)} of ${bytes(limitBytes)}: new tasks are refused from 95 % on`,
        "see below what takes it; raise maxmemory, or lower what the apps may queue",
      ),
    );
  if (!logShortened && logBytes > 0)
    found.push(
      warning(
        "STORE_LOG_GROWS",
        "Redis",
        `its append-only file of ${bytes(logBytes)} is never rewritten`,
        "set auto-aof-rewrite-percentage to 100, or run BGREWRITEAOF regularly",
      ),
    );
  const largest = holdings.filter((holding, at) => at < LARGEST || isGrowing(holding));
  for (const holding of largest) found.push(holdingFinding(holding, held));
  return found;
}

function holdingFinding(holding: Holding, { sinceMs }: HoldingsReply): Finding {
  const { family, app, rows, partitions, bound, grownRows, grownBytes } = holding;
  const subject = app === "" ? family : `${family} of ${app}`;
  const size = `about ${plural(rows, "row")}, ${bytes(holding.bytes)} in ${plural(partitions, "partition")}`;
  const advice = `bound: ${bound}`;
  if (family === "set aside") return warning("STORE_SET_ASIDE", subject, `${size} that no node opens`, advice);
  if (!isGrowing(holding)) return note("STORE_HOLDS", subject, size, advice);
  const growth = `${grownRows < 0 ? "" : "+"}${count(grownRows)} rows, +${bytes(grownBytes)} in ${showDuration(sinceMs)}`;
  return note("STORE_GROWS", subject, `${size}; ${growth}`, advice);
}

function isGrowing({ bytes: size, grownBytes }: Holding): boolean {
  return grownBytes > GROWS_BYTES && grownBytes > size * GROWS_SHARE;
}

/** Of `maxmemory`. */
const NEARLY_FULL = 0.75;
const LARGEST = 3;
/** More than an estimate may be off by. */
const GROWS_BYTES: number = 1024 * 1024;
const GROWS_SHARE = 0.2;
