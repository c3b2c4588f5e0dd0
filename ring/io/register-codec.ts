/** The register's state as bytes for its file: JSON with the compact form of documents, checked when read. */

import { decodeDocument, encodeDocument } from "../document-codec.ts";
import { RingError } from "../errors.ts";
import type { MemberId, NodeName } from "../ids.ts";
import type { Ballot, Consent, RegisterState } from "../register/messages.ts";

export function encodeRegisterState(state: RegisterState): Uint8Array {
  const { version, member, memberId, starts, document, promised, accepted } = state;
  return new TextEncoder().encode(
    JSON.stringify({
      version,
      member,
      memberId,
      starts,
      document: document === undefined ? undefined : encodeDocument(document),
      promised,
      accepted: accepted === undefined ? undefined : { ...accepted, document: encodeDocument(accepted.document) },
    }),
  );
}

/** Throws `STORE_BROKEN` for anything that `encodeRegisterState` does not write. */
export function decodeRegisterState(bytes: Uint8Array): RegisterState {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Record<string, unknown>;
    if (value.version !== 1) throw new Error(`version ${String(value.version)} is not known to this release`);
    const { member, memberId, starts, document, promised, accepted } = value;
    if (typeof member !== "string" || typeof memberId !== "string" || typeof starts !== "number")
      throw new Error("fields are missing");
    return {
      version: 1,
      member: member as NodeName,
      memberId: memberId as MemberId,
      starts,
      document: document === undefined ? undefined : decodeDocument(document),
      promised: promised as Ballot | undefined,
      accepted: accepted === undefined ? undefined : acceptedOf(accepted as Record<string, unknown>),
    };
  } catch (error) {
    throw new RingError("STORE_BROKEN", `the register file cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function acceptedOf(value: Record<string, unknown>): NonNullable<RegisterState["accepted"]> {
  return {
    ballot: value.ballot as Ballot,
    document: decodeDocument(value.document),
    consents: value.consents as Consent[],
  };
}
