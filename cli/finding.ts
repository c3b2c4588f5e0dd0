/** One thing that is wrong with a ring, or that waits for its operator. */

export interface Finding {
  readonly severity: "error" | "warning" | "note";
  readonly code: string;
  /** Node, app or partition; empty for the ring. */
  readonly subject: string;
  readonly detail: string;
  readonly advice: string;
}

type Found = (code: string, subject: string, detail: string, advice: string) => Finding;

export const error: Found = finding("error");
export const warning: Found = finding("warning");
export const note: Found = finding("note");

function finding(severity: Finding["severity"]): Found {
  return (code, subject, detail, advice) => ({ severity, code, subject, detail, advice });
}
