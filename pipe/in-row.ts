/** Partitions in a row of which all are of one kind, `partition` among them; counted up to `most`. */
export function inRow(
  partition: number,
  isOne: (partition: number) => boolean,
  { ringSize, most }: { readonly ringSize: number; readonly most: number },
): number {
  let count = 1;
  for (const step of [1, ringSize - 1])
    for (let at = (partition + step) % ringSize; count < most && isOne(at); at = (at + step) % ringSize) count += 1;
  return count;
}
