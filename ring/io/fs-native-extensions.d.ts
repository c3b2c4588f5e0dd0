/** The part of `fs-native-extensions` that is used here; the package brings no types. */
declare module "fs-native-extensions" {
  interface Locks {
    /** An exclusive lock on the open file behind `fd`; false while another open file holds one. */
    tryLock(fd: number): boolean;
    unlock(fd: number): void;
  }
  const locks: Locks;
  export default locks;
}
